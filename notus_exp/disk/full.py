"""Disks and folders that cannot be written: told before anything is made where that can be known, else what it means.

Each library has its own error for a full disk, and some have none that says so.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from notus_exp.errors import UserError, first_line

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


DISK_HINT = "free some space there or make it writable, or give another output_dir=FOLDER; finished stages are kept"


_REMEDIES = {
    errno.EACCES: "let your user read and write it and the folders above it",
    errno.EPERM: "let your user read and write it and the folders above it",
    errno.ENAMETOOLONG: "give a shorter name: most disks take 255 bytes of one",
    errno.ENOTDIR: "a file lies where a folder is asked: give another place",
    errno.EISDIR: "a folder lies where a file is asked: give another place",
    errno.EEXIST: "a file lies where a folder is asked: give another place",
    errno.ENOENT: "check the path",
}


def remedy(error: OSError, otherwise: str = "free some space there or make it writable") -> str:
    """Return what to do about an error of the disk.

    Args:
        error: The error.
        otherwise: What helps where its number says nothing more.
    """
    return _REMEDIES.get(error.errno or 0, otherwise)


def check_output(given: str, below: Iterable[str]) -> None:
    """Refuse an output folder that can be neither looked into nor made; one that is there may be read-only.

    Args:
        given: output_dir.
        below: Names of the folders in it.

    Raises:
        UserError: Naming what is in the way.
    """
    folder = Path(given).absolute()
    places = (folder, *(folder / name for name in below if os.path.lexists(folder / name)))
    problem = next(filter(None, map(_obstacle, places)), None)
    if problem is not None:
        raise UserError(f"output_dir={given} cannot be used: {problem}", "give another output_dir=FOLDER")


def _obstacle(folder: Path) -> str | None:
    """Say why a folder cannot be made where it is not there; None where it is, or nothing is in the way."""
    for path in (folder, *folder.parents):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{error.strerror}: {path}"
        if not path.is_dir():
            return f"{os.strerror(errno.ENOENT if path.is_symlink() and not path.exists() else errno.ENOTDIR)}: {path}"
        return None if path == folder or os.access(path, os.W_OK | os.X_OK) else f"{os.strerror(errno.EACCES)}: {path}"
    return None


def disk_problem(error: BaseException, *folders: Path) -> str | None:
    """Return in one line what is wrong with the disk where that is why something failed, else None.

    Args:
        error: What failed, with what it came from.
        folders: Where it wrote; an error that names no file is told of the one with the least room.
    """
    folder = fullest(*folders)
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        if isinstance(found, OSError) and found.errno in _NUMBERS:
            return f"{found.strerror}: {found.filename or f'below {folder}'}"
        if any(word in str(found).lower() for word in _WORDS):
            return f"{first_line(found)}: below {folder}"
        found = found.__cause__ or found.__context__
    if isinstance(error, Exception) and is_full(folder):
        return f"the disk is full: below {folder} ({first_line(error)})"
    return None


def fullest(*folders: Path) -> Path:
    """Return the folder on whose disk the least room is left; the first of those that share it."""
    return min(folders, key=_free)


def is_full(folder: Path) -> bool:
    """Say whether so little room is left where a folder is that whatever failed there failed for that."""
    return _free(folder) < _LEFT


def _free(folder: Path) -> float:
    """Return the free bytes where a folder is, or would be made."""
    try:
        return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    except (OSError, StopIteration):
        return float("inf")
