"""Who works on a trial: a lease that its process renews while it lives, so that a trial does not wait for a dead one.

Optuna's heartbeat does not work with ask and tell, and sees no process that was killed until its grace has passed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, TypedDict

import psutil
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import Trial

LEASE = "lease"
"""The trial's user attribute."""
RENEWALS = 4
"""How often a lease is renewed within its time."""
CLOCK_SECONDS = 2.0
"""By how much the start of one and the same process may seem to move, where it is told by a clock that is set."""
_NAMESPACE = Path("/proc/self/ns/pid")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class TrialLease(TypedDict):
    """Who works on a trial. No clock is in it: those of two machines need not agree, and a clock may be set.

    Attributes:
        host: The machine since it was started, and the container where processes are numbered by themselves.
        pid: The process.
        started: When that began, on the machine's own count since its start: a pid may be given to another one.
        renewed: How often it was renewed. While that goes on growing the process lives, wherever it is.
    """

    host: str
    pid: int
    started: float
    renewed: int


def new_lease(renewed: int = 0) -> TrialLease:
    """Return a lease of this process.

    Args:
        renewed: How often it was renewed.
    """
    pid = os.getpid()
    started = _started(pid)
    assert started is not None  # it is this process
    return {"host": _host(), "pid": pid, "started": started, "renewed": renewed}


def lives(lease: TrialLease) -> bool | None:
    """Say whether the process of a lease lives; None where that cannot be known from here."""
    if lease["host"] != _host():
        return None
    started = _started(lease["pid"])
    return started is not None and abs(started - lease["started"]) <= CLOCK_SECONDS


def is_of_here(lease: Any) -> bool:
    """Say whether a lease is of this machine, by its name, or of none."""
    return not _is_lease(lease) or str(lease["host"]).partition("/")[0] == socket.gethostname()


class Watch:
    """Tells which trials nobody works on any more.

    Where a process is of this machine, that is looked up. Of another machine's a lease that does not change for its
    time, by the clock of this process alone, is over: the storage tells that it changes, so that no clock is compared
    with another.

    Args:
        seconds: How long a lease holds unless it is renewed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[int, tuple[Any, float]] = {}

    def is_dead(self, number: int, lease: Any) -> bool:
        """Say whether nobody works on a trial any more.

        Args:
            number: The trial's.
            lease: As the storage has it now; None where the process died before it could write one.
        """
        if lease is None:
            return True
        alive = lives(lease) if _is_lease(lease) else None
        if alive is not None:
            return not alive
        now = time.monotonic()
        before, since = self._seen.get(number, (None, now))
        if before != lease:
            self._seen[number] = (lease, now)
            return False
        return now - since >= self._seconds


def _is_lease(lease: Any) -> bool:
    return isinstance(lease, dict) and TrialLease.__annotations__.keys() <= lease.keys()


class Keeper:
    """Renews the leases of this process's trials; a context manager that ends the renewing, not the leases.

    Args:
        seconds: How long a lease holds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._trials: dict[int, Trial] = {}
        self._renewals = 0
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_all, daemon=True)

    def __enter__(self) -> Keeper:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join()

    def hold(self, trial: Trial) -> None:
        """Take a lease on a trial and renew it from here on."""
        with self._turn:
            trial.set_user_attr(LEASE, new_lease())
            self._trials[trial.number] = trial

    def drop(self, trial: Trial) -> None:
        """Renew a trial's lease no longer."""
        with self._turn:
            self._trials.pop(trial.number, None)

    def _renew_all(self) -> None:
        while not self._stop.wait(self._seconds / RENEWALS):
            for number in list(self._trials):
                with self._turn:
                    self._renew(number)

    def _renew(self, number: int) -> None:
        trial = self._trials.get(number)
        if trial is None:
            return
        try:
            self._renewals += 1
            trial.set_user_attr(LEASE, new_lease(self._renewals))
        except UpdateFinishedTrialError:  # another process held this one to be dead, and has told so
            del self._trials[number]
        except StorageInternalError:
            pass  # the database is away; the next turn tries again


def _host() -> str:
    """Return a name of this machine since its start, and of the container where processes are numbered by themselves.

    Two machines may have one name, and containers on all of them the same number: the id of the start tells them apart.
    """
    space = _NAMESPACE.stat().st_ino if _NAMESPACE.exists() else 0
    boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""
    return f"{socket.gethostname()}/{boot}/{space}"


def _started(pid: int) -> float | None:
    """Return when a process began, None if there is none; a pid may have been given to another one since.

    On Linux in seconds since the machine's start, which no setting of its clock moves; else in seconds since the epoch.
    """
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return None
        status = Path(f"/proc/{pid}/stat")
        if status.exists():  # the name, in brackets, may hold anything; the 20th field after it is the start, in ticks
            fields = status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            return int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, OSError, IndexError, ValueError):
        return None
