"""Which W&B runs have been told what, so that nothing is told twice and nothing is left out.

A note is a file of a study's folder, `wandb/told/<id>`: the run's place in the study, and a hash of what it was told.
Without it a run is told once more, under the same id, which W&B then writes over. A run of its own has its notes in its
own folder, one for each place in W&B where it is, with the id that it has there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from notus_exp.disk.hashing import digest
from notus_exp.disk.json_files import write_json
from notus_exp.tracking.tracker import Ending, Membership

VERSION = 2
"""Raised where what W&B is told of a run changes."""
WANDB, TOLD = "wandb", "told"
"""The folder that W&B makes for what is its own, and the notes' in it."""
SUPERSEDED = "superseded"
"""Folder, in `wandb/`, of offline runs that were told anew: `wandb sync` of the others sends each run once."""


class OwnRun(NamedTuple):
    """The W&B run that stands for a run of its own.

    Attributes:
        id: W&B's.
        status: How the run ended that it was told; "" where it was told of none yet.
        content: Of `content_of`.
    """

    id: str
    status: str = ""
    content: str = ""


def content_of(ending: Ending, asked: Iterable[str], artifacts: Iterable[str], *, offline: bool) -> str:
    """Return a hash of what a run is told at its end, and of whether that went online."""
    keys = {name: stage["key"] for name, stage in ending.stages.items()}
    told = [VERSION, ending.status, ending.error, dict(ending.metrics), keys, [*asked], sorted(artifacts), offline]
    return digest(json.dumps(told, sort_keys=True))


def note(folder: Path, run: str, member: Membership, content: str) -> None:
    """Write down that a run was told this content.

    Args:
        folder: The study's.
        run: W&B's id.
        member: The run's place in the study.
        content: Of `content_of`.
    """
    path = _path(folder, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"member": member._asdict(), "content": content})


def note_own(folder: Path, place: str, run: OwnRun) -> None:
    """Write down which W&B run stands for a run of its own.

    Args:
        folder: The run's.
        place: Where in W&B it is.
        run: The W&B run.
    """
    path = _path(folder, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, run._asdict())


def own_run(folder: Path, place: str) -> OwnRun | None:
    """Return the W&B run that stands for a run of its own there; None where there is none, or no note can be read."""
    try:
        found = OwnRun(**json.loads(_path(folder, place).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if all(isinstance(part, str) for part in found) and found.id.isalnum() else None


def forget(folder: Path, run: str) -> None:
    """Take back what was written down of a run: it is being told anew."""
    _path(folder, run).unlink(missing_ok=True)


def is_told(folder: Path, run: str, content: str) -> bool:
    """Say whether a run was told exactly this content."""
    known = _read(_path(folder, run))
    return known is not None and known[1] == content


def told_members(folder: Path) -> dict[str, Membership]:
    """Return W&B's id of every run of a study that was told of -> its place there."""
    found = {path.name: _read(path) for path in sorted((folder / WANDB / TOLD).glob("*"))}
    return {run: known[0] for run, known in found.items() if known is not None}


def supersede(folder: Path, run: str) -> None:
    """Move earlier offline runs of an id out of the way of `wandb sync`, which would send them after the new one."""
    for earlier in (folder / WANDB).glob(f"offline-run-*-{run}"):
        place = folder / WANDB / SUPERSEDED
        place.mkdir(exist_ok=True)
        number = len(list(place.iterdir()))
        earlier.rename(place / f"{number}-{earlier.name}")


def _path(folder: Path, run: str) -> Path:
    return folder / WANDB / TOLD / run


def _read(path: Path) -> tuple[Membership, str] | None:
    """Return a note; None where there is none, or none that can be read: its run is told once more."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        member = Membership(**known["member"])
        return member._replace(metrics=tuple(member.metrics)), known["content"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
