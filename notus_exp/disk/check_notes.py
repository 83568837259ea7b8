"""Notes of checks: which files of artifacts were read and compared on this machine, and as what they were found."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from notus_exp.disk.json_files import write_json

CHECKED = ".checked"
"""Folder of the notes about files that were checked, one folder a machine."""

Checked = dict[str, list[int | str]]
"""File -> its state when it was checked, and its hash."""


def state_of(path: Path) -> list[int | str]:
    """Return what tells that a file is the one that was checked: inode, size, and times of content and of inode."""
    stat = path.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def read_notes(root: Path, name: str) -> Checked:
    """Return what was noted on this machine about an artifact's files; nothing if the notes are unusable.

    Args:
        root: Folder of all artifacts.
        name: Of the artifact's folder.
    """
    try:
        notes = json.loads(_path(root, name).read_bytes())
        return {str(file): list(known) for file, known in notes.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def write_notes(root: Path, name: str, checked: Checked) -> None:
    """Note what was found of an artifact's files on this machine."""
    path = _path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, checked)


def remove_notes(root: Path, name: str) -> None:
    """Remove what any machine noted about an artifact's files."""
    for notes in (root / CHECKED).glob(f"*/{name}.json"):
        notes.unlink(missing_ok=True)


def _path(root: Path, name: str) -> Path:
    return root / CHECKED / (platform.node() or "machine") / f"{name}.json"
