"""Checkpoints that can be trusted: one counts only once a marker, written last, says that it is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PREFIX = "checkpoint-"
MARKER = "complete"
UNSAFE = "training_args.bin"
"""A pickle that transformers writes beside weights; nothing here reads it, so it is not kept."""


def mark_complete(checkpoint: Path) -> None:
    """Declare a checkpoint complete: its files reach the disk first, then the marker does."""
    for path in sorted(checkpoint.rglob("*")):
        _sync(path)
    (checkpoint / MARKER).touch()
    _sync(checkpoint / MARKER)
    _sync(checkpoint)


def newest_complete(folder: Path) -> Path | None:
    """Return the complete checkpoint of the most steps, or None."""
    complete = [path for path in _checkpoints(folder) if (path / MARKER).exists()]
    return max(complete, key=step_of, default=None)


def keep_only(folder: Path, kept: Path | None) -> None:
    """Remove every checkpoint but `kept`: half-written ones, and complete ones that a newer one replaces."""
    for path in _checkpoints(folder):
        if path != kept:
            (path / MARKER).unlink(missing_ok=True)  # first: a removal that is cut short must not look complete
            shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(PREFIX))


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
