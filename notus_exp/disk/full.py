"""What a full disk makes of a run: each library has its own error for it, and some have none that says so."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from notus_exp.errors import first_line

_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_WORDS = (
    "no space left on device",
    "os error 28",
    "disk quota exceeded",
    "os error 122",
    "file too large",
    "os error 27",
    "database or disk is full",
)
_LEFT = 2**20
"""Free bytes below which a disk is full, whatever a library says went wrong."""


def disk_problem(error: BaseException, folder: Path) -> str | None:
    """Return in one line what is wrong with the disk where that is why something failed, else None.

    Args:
        error: What failed, with what it came from.
        folder: Where it wrote.
    """
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        if isinstance(found, OSError) and found.errno in _NUMBERS:
            return f"{found.strerror}: {found.filename or f'below {folder}'}"
        if any(word in str(found).lower() for word in _WORDS):
            return f"{first_line(found)}: below {folder}"
        found = found.__cause__ or found.__context__
    if isinstance(error, Exception) and _is_full(folder):
        return f"the disk is full: below {folder} ({first_line(error)})"
    return None


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LEFT
    except OSError:
        return False
