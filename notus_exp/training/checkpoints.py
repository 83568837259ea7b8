"""Checkpoints that can be trusted: one counts only while every file in it is as its marker, written last, says.

The marker holds the step, a hash of each file, which artifact the training makes and from which inputs, and a hash of
the events that were kept up to then: what a resumed training goes on from is all of one training, or is not used.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_128

from notus_exp.contracts.format import check_kinds, seal_of, sealed
from notus_exp.disk.hashing import content_hash
from notus_exp.disk.json_files import write_json

PREFIX = "checkpoint-"
MARKER = "complete"
STATE = "trainer_state.json"
UNSAFE = "training_args.bin"
"""A pickle that transformers writes beside weights; nothing here reads it, so it is not kept."""


class CheckpointOwner(NamedTuple):
    """The training that a checkpoint is part of.

    Attributes:
        artifact: Name of the folder in which it makes its artifact; the key is part of it.
        inputs: What stands for the content of each input, by its use.
        events: The file of its kept events.
    """

    artifact: str
    inputs: dict[str, str]
    events: Path


class _ForeignError(Exception):
    """A checkpoint is whole, but what is there beside it is not of the same training."""


def mark_complete(checkpoint: Path, owner: CheckpointOwner) -> None:
    """Declare a checkpoint complete: its files and the events reach the disk first, then the marker does."""
    paths = sorted(checkpoint.rglob("*"))
    for path in [*paths, *([owner.events] if owner.events.exists() else [])]:
        _sync(path)
    marker = {
        "step": step_of(checkpoint),
        "artifact": owner.artifact,
        "inputs": owner.inputs,
        "events": _kept(owner.events),
        "files": {str(path.relative_to(checkpoint)): content_hash(path) for path in paths if path.is_file()},
    }
    write_json(checkpoint / MARKER, sealed(marker))
    _sync(checkpoint)


def newest_complete(
    folder: Path, owner: CheckpointOwner, say: Callable[[str], None] = lambda line: None
) -> Path | None:
    """Return the complete and undamaged checkpoint of the most steps that is the owner's, or None.

    Args:
        folder: Where checkpoints lie.
        owner: The training that is to go on.
        say: Told of each checkpoint that is passed over, and where none is left.
    """
    passed_over = 0
    for path in _marked(folder):
        reason = _reason_against(path, owner)
        if reason is None:
            return path
        say(f"{path} {reason}")
        passed_over += 1
    if passed_over:
        say("no checkpoint can be gone on from: the training begins anew")
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


def events_of(checkpoint: Path) -> int:
    """Return how many bytes of the kept events were written up to a checkpoint that is whole."""
    size: int = json.loads((checkpoint / MARKER).read_bytes())["events"]["bytes"]
    return size


def _reason_against(checkpoint: Path, owner: CheckpointOwner) -> str | None:
    """Return in words why a marked checkpoint is not gone on from; None where it is the owner's, as it was written."""
    try:
        _check_marker(checkpoint, _read_marker(checkpoint), owner)
        _check_step(checkpoint)
    except _ForeignError as error:
        return f"is passed over: {error}"
    except (OSError, ValueError, RecursionError) as error:
        return f"is damaged and passed over: {error}"
    return None


def _read_marker(checkpoint: Path) -> Any:
    content = (checkpoint / MARKER).read_bytes()
    if not content:  # an earlier version wrote it so: of a training under another key, so nothing of today's is lost
        raise ValueError("its marker is empty")
    return json.loads(content)


def _check_marker(checkpoint: Path, marker: Any, owner: CheckpointOwner) -> None:
    kinds = {"step": int, "artifact": str, "inputs": dict, "events": dict, "files": dict}
    check_kinds(marker, kinds, required=(*kinds, "seal"), where="its marker")
    if seal_of(marker) != marker["seal"]:
        raise ValueError("its marker is not what was written")
    if marker["step"] != step_of(checkpoint):
        raise ValueError(f"its marker is of step {marker['step']}")
    if marker["artifact"] != owner.artifact:
        raise _ForeignError(f"it is a checkpoint of {marker['artifact']}, not of {owner.artifact}")
    for use, content in marker["inputs"].items():
        if owner.inputs.get(use) != content:
            raise _ForeignError(f"it was trained on another input: {use} has other content now")
    for name, expected in marker["files"].items():
        if content_hash(checkpoint / name) != expected:
            raise ValueError(f"{name} is not what was written")
    if _kept(owner.events, marker["events"]["bytes"]) != marker["events"]:
        raise _ForeignError(f"{owner.events} is not what was written up to then")


def _kept(events: Path, most: int | None = None) -> dict[str, int | str]:
    """Return how many bytes of events there are, at most so many, and their hash."""
    content = events.read_bytes()[:most] if events.exists() else b""
    return {"bytes": len(content), "hash": xxh3_128(content).hexdigest()}


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
