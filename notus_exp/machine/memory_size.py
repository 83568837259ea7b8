"""How much memory there is: of the machine, as far as this process may use it, and of CUDA devices; no torch here."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from notus_exp.machine.cuda import cuda_models

CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where control groups are, and which of them are this process's."""


def machine_bytes() -> int | None:
    """Return the bytes of memory that this process may use; None where the system does not tell.

    Those of the machine, or of the process's control group, if they are fewer.
    """
    known = [limit for limit in (_physical(), *_limits()) if limit]
    return min(known) if known else None


def _physical() -> int | None:
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _limits() -> list[int]:
    """Return the limits of this process's control group and of those above it, of either version of them."""
    try:
        lines = OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, file = (CGROUPS, "memory.max") if not controllers else (CGROUPS / "memory", "memory.limit_in_bytes")
        within = root / name.lstrip("/")
        for folder in (within, *within.parents):
            if folder != root and root not in folder.parents:
                break
            with suppress(OSError, ValueError):  # "max" is no limit
                found.append(int((folder / file).read_text(encoding="ascii")))
    return found


def cuda_bytes() -> int | None:
    """Return the bytes of memory of the smallest CUDA device, to 0.1 GB; None without one, or where none is told."""
    return min((int(model.memory_gb * 1e9) for model in cuda_models() if model.memory_gb), default=None)
