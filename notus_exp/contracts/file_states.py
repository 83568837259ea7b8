"""Which file was seen: what tells that it is still the same one, so that it is looked at once in a process."""

from __future__ import annotations

import os
import time

SETTLED = 2.0
"""Seconds after which a file that is written again has another time: the coarsest clock of a file system, FAT's."""

State = tuple[int, ...]
"""Device, inode, size, and the times of content and of inode."""


def settled_state(descriptor: int) -> State | None:
    """Return the state of an open file; None where it was written a moment ago, and could be again unnoticed.

    Args:
        descriptor: Of the file, which nothing was read of yet: what is written meanwhile has another state.
    """
    stat = os.fstat(descriptor)
    if time.time() - max(stat.st_mtime, stat.st_ctime) < SETTLED:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
