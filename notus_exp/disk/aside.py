"""Setting a damaged file aside: under a name that says so, with a number, so that nothing is ever written over."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path


def set_aside(path: Path, companions: Iterable[str] = ()) -> Path:
    """Rename a damaged file to `<name>.damaged-<number>`, the first number that is free; return its new path.

    Args:
        path: The file.
        companions: Suffixes of files that belong to it, such as `-wal`; those that exist keep theirs.
    """
    kept = free_name(path, companions)
    for suffix in ("", *companions):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept


def free_name(path: Path, companions: Iterable[str] = ()) -> Path:
    """Return the name under which a damaged file can be kept, beside what was kept before."""
    suffixes = ("", *companions)
    for number in itertools.count(1):
        kept = path.with_name(f"{path.name}.damaged-{number}")
        if not any(kept.with_name(kept.name + suffix).exists() for suffix in suffixes):
            return kept
    raise AssertionError("there is always a next number")
