"""Marks of use: which artifacts processes are using now, so that pruning leaves them alone."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError

IN_USE = ".in-use"
"""Folder in which each process that uses artifacts names them, under a lock that the kernel frees when it dies."""
PRUNING = "pruning.lock"


@contextmanager
def using(root: Path, names: Iterable[str]) -> Iterator[None]:
    """Tell whoever prunes, until the block ends or this process dies, that artifacts are in use.

    Args:
        root: Folder of all artifacts.
        names: Of their folders, whether or not they are there.
    """
    folder = root / IN_USE
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{platform.node()}-{os.getpid()}-{time.monotonic_ns()}.json"
    lock = FileLock(path.with_suffix(".lock"))
    with FileLock(folder / PRUNING):  # not while artifacts are being removed
        lock.acquire()
        write_json(path, sorted({*names}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)


def names_in_use(root: Path) -> set[str]:
    """Return the names that processes are using now, and forget those of processes that died.

    Raises:
        UserError: What a process uses that goes on is not known, as its note is damaged.
    """
    found: set[str] = set()
    for path in (root / IN_USE).glob("*.json"):
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with suppress(FileNotFoundError):  # it ended just now
                found |= _names(path)
            continue
        path.unlink(missing_ok=True)
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)
    return found


def _names(path: Path) -> set[str]:
    try:
        names = json.loads(path.read_bytes())
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return {*names}
    except (ValueError, RecursionError):
        pass
    raise UserError(
        f"{path} is damaged: which artifacts the process uses that wrote it is not known",
        "wait until that process has ended: its note goes with it",
    )


@contextmanager
def pruning(root: Path) -> Iterator[None]:
    """Keep every process from starting to use artifacts until the block ends."""
    (root / IN_USE).mkdir(parents=True, exist_ok=True)
    with FileLock(root / IN_USE / PRUNING):
        yield
