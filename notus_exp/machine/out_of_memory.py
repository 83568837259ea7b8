"""Telling that memory ran out: from an exception, whoever raised it, or from the kernel that ended a process for it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_WORDS = re.compile(
    r"out of memory|DefaultCPUAllocator: (not enough memory|can't allocate memory)|CUBLAS_STATUS_ALLOC_FAILED|"
    r"Cannot allocate memory",
    re.IGNORECASE,
)
"""What the libraries' plain RuntimeErrors and OSErrors say of it."""
COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
"""Where the kernel counts the processes of this control group that it ended (either version of control groups)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an exception, or one that it came of, means that memory ran out, of a device or of the machine.

    torch is not imported for it: `torch.OutOfMemoryError` is known by its name.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        names = {kind.__name__ for kind in type(found).__mro__}
        if names & {"MemoryError", "OutOfMemoryError"}:
            return True
        if isinstance(found, RuntimeError | OSError) and _WORDS.search(str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False


def ended_for_memory() -> int:
    """Return how many processes of this control group the kernel ended as memory ran out; 0 where it is not told."""
    for path in COUNTERS:
        with suppress(OSError, ValueError, IndexError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, number = line.split()
                if name == "oom_kill":
                    return int(number)
    return 0
