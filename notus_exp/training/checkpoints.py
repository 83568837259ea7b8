"""Checkpoints that can be trusted: one counts only while every file in it is as its marker, written last, says.

The marker holds the step and a hash of each file. A marker of earlier versions is empty: of such a checkpoint is looked
at what can be: the step, the files that a resume reads, and the checksums that torch's own archives have.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from notus_exp.contracts.format import check_kinds, sealed
from notus_exp.disk.artifacts import write_json
from notus_exp.disk.hashing import content_hash

PREFIX = "checkpoint-"
MARKER = "complete"
STATE = "trainer_state.json"
UNSAFE = "training_args.bin"
"""A pickle that transformers writes beside weights; nothing here reads it, so it is not kept."""
_NEEDED = (STATE, "optimizer.pt", "scheduler.pt", "rng_state*.pth", "*.safetensors")
_ARCHIVES = ("*.pt", "*.pth")
_HEADER = 8
"""Bytes at the beginning of a safetensors file that say how long its header is."""


def mark_complete(checkpoint: Path) -> None:
    """Declare a checkpoint complete: its files reach the disk first, then the marker with their hashes does."""
    paths = sorted(checkpoint.rglob("*"))
    for path in paths:
        _sync(path)
    hashes = {str(path.relative_to(checkpoint)): content_hash(path) for path in paths if path.is_file()}
    write_json(checkpoint / MARKER, sealed({"step": step_of(checkpoint), "files": hashes}))
    _sync(checkpoint)


def newest_complete(folder: Path, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """Return the complete and undamaged checkpoint of the most steps, or None.

    Args:
        folder: Where checkpoints lie.
        say: Told of each checkpoint that is damaged and passed over.
    """
    for path in _marked(folder):
        damage = damage_of(path)
        if damage is None:
            return path
        say(f"{path} is damaged and passed over: {damage}")
    return None


def one_before(checkpoint: Path) -> Path | None:
    """Return the marked checkpoint before one: it is kept until the next is complete, in case that one is damaged."""
    earlier = (path for path in _marked(checkpoint.parent) if step_of(path) < step_of(checkpoint))
    return next(earlier, None)


def keep_only(folder: Path, *kept: Path | None) -> None:
    """Remove every checkpoint but `kept`: half-written ones, damaged ones, and those that newer ones replace."""
    for path in _checkpoints(folder):
        if path not in kept:
            (path / MARKER).unlink(missing_ok=True)  # first: a removal that is cut short must not look complete
            shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(PREFIX))


def damage_of(checkpoint: Path) -> str | None:
    """Return in words what is wrong with a marked checkpoint, None where nothing is."""
    try:
        marker = (checkpoint / MARKER).read_bytes()
        if marker:
            _check_hashes(checkpoint, json.loads(marker))
        else:
            _check_by_itself(checkpoint)
        _check_step(checkpoint)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        return str(error)
    return None


def _check_hashes(checkpoint: Path, marker: object) -> None:
    check_kinds(marker, {"step": int, "files": dict}, required=("step", "files", "seal"), where="its marker")
    assert isinstance(marker, dict)
    if sealed({"step": marker["step"], "files": marker["files"]})["seal"] != marker["seal"]:
        raise ValueError("its marker is not what was written")
    if marker["step"] != step_of(checkpoint):
        raise ValueError(f"its marker is of step {marker['step']}")
    for name, expected in marker["files"].items():
        if content_hash(checkpoint / name) != expected:
            raise ValueError(f"{name} is not what was written")


def _check_by_itself(checkpoint: Path) -> None:
    for pattern in _NEEDED:
        if not any(checkpoint.glob(pattern)):
            raise ValueError(f"it has no {pattern}")
    for path in (path for pattern in _ARCHIVES for path in sorted(checkpoint.glob(pattern))):
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise ValueError(f"{path.name} has another content than its checksum says ({broken})")
    for path in sorted(checkpoint.glob("*.safetensors")):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_HEADER), "little")
            if length > path.stat().st_size:
                raise ValueError(f"{path.name} is cut off")
            header = json.loads(stream.read(length))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        if path.stat().st_size != _HEADER + length + max(ends, default=0):
            raise ValueError(f"{path.name} is cut off")


def _check_step(checkpoint: Path) -> None:
    """Compare the step that the trainer goes on from, where the checkpoint has one, with the folder's name."""
    path = checkpoint / STATE
    if not path.exists():
        return
    state = json.loads(path.read_text(encoding="utf-8"))
    check_kinds(state, {"global_step": int}, required=("global_step",), where=STATE)
    if state["global_step"] != step_of(checkpoint):
        raise ValueError(f"{STATE} is of step {state['global_step']}")


def _marked(folder: Path) -> list[Path]:
    """Return the checkpoints with a marker, the newest first."""
    return sorted((path for path in _checkpoints(folder) if (path / MARKER).exists()), key=step_of, reverse=True)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
