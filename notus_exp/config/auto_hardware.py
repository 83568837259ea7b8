"""What `hardware=auto` stands for: one of the profiles, by the devices that this machine has."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from notus_exp.config.hardware_settings import Hardware
from notus_exp.machine.cuda import CudaModel, cuda_models

AUTO = "auto"
"""The option's name."""
LARGE_GB, SMALL_GB = 70.0, 30.0
"""Memory of a device from which it is one of 80 GB, and up to which one of 24 GB."""
ALIKE = 0.9
"""Of the largest device's memory that the smallest must have."""
FULL_MACHINES = {("A100", True): "a100_8x80gb", ("A100", False): "a100_8x40gb", ("", True): "h100_8"}
"""What all devices are called, and whether they are large -> the profile of eight of them."""


class Picked(NamedTuple):
    """A profile for this machine.

    Attributes:
        profile: Its name.
        changes: Settings that it has otherwise here.
        why: What was found, as text.
    """

    profile: str
    changes: dict[str, Any]
    why: str


def pick_hardware() -> Picked:
    """Return the profile for this machine; see `profile_for`."""
    return profile_for(cuda_models(), f"{platform.system()} {platform.machine()}")


def told_auto(hardware: Hardware) -> str:
    """Return in a line which profile `hardware=auto` is here, and why; `hardware` is what a run has of it."""
    shared = f" with {hardware.processes} processes by {hardware.launch.name}" if hardware.processes > 1 else ""
    return f"auto is {hardware.name}{shared} here: {pick_hardware().why}"


def profile_for(devices: Sequence[CudaModel], system: str) -> Picked:
    """Return the profile for a machine.

    Of several CUDA devices a power of two is taken, into which recipes' global batches divide; see `processes_for` too.
    Each holds the model (ddp) where no profile says more. Of devices that
    are not alike each is taken for the smallest, and `why` says so.

    Args:
        devices: Its CUDA devices.
        system: The system's name and the processor's kind, such as `Darwin arm64`, which has MPS.
    """
    if not devices:
        if system == "Darwin arm64":
            return Picked("mps", {}, "no CUDA device, and Apple's GPU")
        return Picked("cpu", {}, "no CUDA device")
    least = min(device.memory_gb for device in devices)
    count = 1 << (len(devices).bit_length() - 1)
    names = Counter(device.name for device in devices)
    found = ", ".join(f"{number} x {name}" for name, number in names.items())
    why = f"{found}, {least:g} GB" if least else found
    if least < ALIKE * max(device.memory_gb for device in devices):
        why += " of the smallest, for which each is taken (CUDA_VISIBLE_DEVICES says which are used)"
    large = least >= LARGE_GB
    if count == 8:
        of_kind = "A100" if all("A100" in name for name in names) else ""
        if machine := FULL_MACHINES.get((of_kind, large)):
            return Picked(machine, {"memory_gb": least} if least else {}, why)
    profile = "h100" if large else "gpu_24gb" if 0 < least <= SMALL_GB else "gpu"
    changes = {"memory_gb": least} if least else {}
    return Picked(profile, changes | ({"launch": "ddp", "processes": count} if count > 1 else {}), why)


def processes_for(batch: int, most: int) -> int:
    """Return how many processes share a global batch evenly: as many as possible, and at most so many."""
    return next(count for count in range(most, 0, -1) if batch % count == 0)
