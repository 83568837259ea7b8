"""Leases of CUDA devices: concurrent runs on one machine never share a device by accident.

Whoever starts a worker takes file locks, one per device, in a folder that all of a user's processes on the machine see.
The worker inherits the locks' descriptors, so that a device is free again when the last of holder and worker is gone,
however they died: the kernel keeps a `flock` as long as its open file description lives (flock(2)).
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from notus_exp.errors import UserError
from notus_exp.machine.cuda import cuda_uuids

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 1.0
"""How often a waiting run looks whether devices became free."""
LOCKS = Path("/tmp")
"""Below which a user's locks are: not TMPDIR, which schedulers set to another folder for each job."""
GATE = "gate"
"""Lock under which devices are taken, so that of two takers one gets all that it needs."""


class CudaDevice(NamedTuple):
    """A CUDA device: its id in CUDA_VISIBLE_DEVICES, and a name that it has in every process."""

    id: str
    name: str


class Lease(NamedTuple):
    """Devices that nobody else uses meanwhile.

    Attributes:
        devices: Their ids, as CUDA_VISIBLE_DEVICES names them; empty where none is needed.
        descriptors: Open files that hold them; whoever inherits these holds the devices too.
    """

    devices: list[str]
    descriptors: list[int]

    def environment(self) -> dict[str, str]:
        """Return what the process that works on them needs in its environment."""
        return {VISIBLE: ",".join(self.devices)} if self.devices else {}


NO_LEASE = Lease([], [])


def visible_devices() -> list[CudaDevice]:
    """Return the devices that this process may use: those in CUDA_VISIBLE_DEVICES, else all by index.

    A device is called by its UUID, which is the same whatever each process is shown as its device 0; by its id where
    the driver does not tell the UUID. The driver leaves out what comes after the first id that it does not know.
    """
    uuids, given = cuda_uuids(), os.environ.get(VISIBLE)
    ids = [str(index) for index in range(len(uuids))] if given is None else [one.strip() for one in given.split(",")]
    return [CudaDevice(one, uuid or one.replace("/", "_")) for one, uuid in zip(ids, uuids, strict=False)]


@contextmanager
def leased(
    number: int,
    visible: Sequence[CudaDevice],
    on_wait: Callable[[], None],
    *,
    folder: Path | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Iterator[Lease]:
    """Hold some of the visible devices: all that are needed at once, or none while others hold them.

    Args:
        number: How many.
        visible: Those to choose from, as `visible_devices` returns them: a scheduler may have left fewer than the
            machine has.
        on_wait: Called once where too few are free, before waiting for them.
        folder: Where the locks are; the user's own below /tmp if None.
        poll_seconds: How often to look while waiting, in seconds.

    Raises:
        UserError: Fewer devices are visible than are needed, or the folder of the locks is not the user's alone.
    """
    if number > len(visible):
        raise too_few(number, len(visible))
    folder = folder or lock_folder()
    with ExitStack() as held:
        while (lease := _take(number, visible, folder)) is None:
            on_wait()
            on_wait = _nothing
            time.sleep(poll_seconds)
        for descriptor in lease.descriptors:
            held.callback(_release, descriptor)
        yield lease


def lock_folder() -> Path:
    """Return the folder of this user's locks, made where it is missing.

    Raises:
        UserError: Something else has its name: a link, a folder of somebody else, or one that others may write to.
    """
    folder = LOCKS / f"notus-exp-devices-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UserError(
            f"{folder}, which holds the locks of CUDA devices, is not a folder of this user alone",
            "remove it, or have its owner remove it",
        )
    return folder


def too_few(number: int, visible: int) -> UserError:
    """Return what says that a run needs more CUDA devices than it may use here."""
    given = os.environ.get(VISIBLE)
    found = f"{visible} visible" + ("" if given is None else f" ({VISIBLE}={given})")
    hint = "use hardware=cpu, or check the driver with nvidia-smi and that PyTorch is a CUDA build"
    return UserError(
        f"the run needs {number} CUDA device{'s' if number > 1 else ''} (hardware.processes), and there are {found}",
        "lower hardware.processes, or use another hardware profile" if visible else hint,
    )


def _take(number: int, visible: Sequence[CudaDevice], folder: Path) -> Lease | None:
    """Lock as many devices as are needed, or none."""
    gate = _open(folder / GATE)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        lease = Lease([], [])
        for device in visible:
            if len(lease.devices) == number:
                break
            descriptor = _open(folder / device.name)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            lease.devices.append(device.id)
            lease.descriptors.append(descriptor)
        if len(lease.devices) == number:
            return lease
        for descriptor in lease.descriptors:
            _release(descriptor)
        return None
    finally:
        _release(gate)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _release(descriptor: int) -> None:
    """Unlock and close: an orphan of the worker that still has the file must not hold the device for ever."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _nothing() -> None:
    pass
