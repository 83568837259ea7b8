"""What the processor's allocator keeps of memory that is free again: glibc's malloc, which torch uses there.

A block of 32 MiB or more is mapped, and goes back to the system when freed. Smaller ones come from an arena, which
keeps them, and a thread has one of its own: what the forward pass used is not there for the gradients, which autograd's
thread makes, nor theirs for the next forward pass (mallopt(3), M_MMAP_THRESHOLD; benchmarks/memory.py).
"""

from __future__ import annotations

from notus_exp.config.hardware_settings import Device
from notus_exp.run.memory.optimisers import Trained

MAPPED = 32 * 2**20


def kept_gradients(one: Trained, number: int, device: Device) -> float:
    """Return the bytes of gradients that stay taken from one step to the next."""
    if device is not Device.cpu:
        return 0.0
    return float(sum(number * size * many for size, many in one.tensors if number * size < MAPPED))


def kept_activations(size: float, widest: float, device: Device) -> float:
    """Return the bytes of activations that stay taken when they are free.

    Beside what a pass holds at its fullest these are holes: aligned blocks, which torch asks for, are not put where
    blocks of the same size were freed (glibc before 2.38), so what a model's block frees lies between what it keeps.

    Args:
        size: All that is freed.
        widest: The largest tensor of it.
        device: Where they are.
    """
    return size if device is Device.cpu and widest < MAPPED else 0.0
