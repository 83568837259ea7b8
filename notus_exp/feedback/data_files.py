"""Which files or hub commit the feedback comes from: found by the planner before anything runs.

Imports no dataframe, dataset or training library: the parent calls this for every plan, also for `until=config`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.data_folders import asked_split, data_files, file_format, splits
from notus_exp.config.data_settings import ENDINGS, Data, FileData
from notus_exp.disk.hashing import digest, file_digest
from notus_exp.disk.hub import hub_commit
from notus_exp.errors import UserError, did_you_mean

MOST_BESIDE = 5
"""Data files that are named at most where another was asked for."""


class FeedbackSources(NamedTuple):
    """What stands for the data in keys, and where it lies.

    Attributes:
        digest: sha256 of the local files' content, or the hub dataset's commit; None for simulated data.
        files: Absolute paths of the local files in reading order; empty for simulated and hub data.
    """

    digest: str | None
    files: list[str]


def sources(spec: Data) -> FeedbackSources:
    """Return what identifies the feedback of a data group, reading local files once and asking the hub at most once.

    Raises:
        UserError: Missing, empty or unsupported files; a hub dataset that does not exist or cannot be reached.
    """
    if not isinstance(spec, FileData):
        return FeedbackSources(None, [])
    if spec.path is not None:
        files = resolve_files(spec.path, spec.hub_split)
        return FeedbackSources(data_digest(files), [str(file) for file in files])
    if not spec.hub_id:
        raise UserError("data.path and data.hub_id are both null", "set data.path=FILE or data.hub_id=ORG/NAME")
    commit = hub_commit(spec.hub_id, spec.revision, "dataset")
    if commit is None:
        raise UserError(
            f"dataset {spec.hub_id} cannot be reached, and no earlier download tells the commit of '{spec.revision}'",
            "go online, read a local copy with data.path=FILE, or reuse an earlier run's by data.revision=COMMIT",
        )
    return FeedbackSources(commit, [])


def resolve_files(path: str, split: str | None = None) -> list[Path]:
    """Return the absolute paths of the data files at `path`, which is a file or a folder, in reading order.

    The reading order, which numbers the records, is that of the sorted names relative to the folder: where the folder
    lies, and in which order the disk lists it, does not matter.

    Args:
        path: The file or folder.
        split: Which split of a folder; None where it has one at most. A single file is read whatever the split.

    Raises:
        UserError: Nothing at `path`, another type of file, a folder without data files or without this split, a
            folder of several splits of which none is asked for, or an empty file.
    """
    place = Path(path).expanduser()
    if not path or not place.exists():
        raise UserError(f"data.path: there is no file or folder '{path}'", _neighbours(place))
    if place.is_file():
        if file_format(place) is None:
            raise UserError(f"data.path: cannot read the type of '{path}'", f"it must end in {ENDINGS}")
        files = [place]
    else:
        files, _ = data_files(place)
        if not files:
            raise UserError(f"data.path: folder '{path}' holds no data file", f"such files end in {ENDINGS}")
        files = _of_split(place, files, split)
    for file in files:
        if file.stat().st_size == 0:
            raise UserError(f"data.path: '{file}' is empty", "remove it, or write it again")
    return [file.absolute() for file in files]


def _of_split(folder: Path, files: list[Path], split: str | None) -> list[Path]:
    """Return the files of the split that is asked for, or all where none is and there is one at most."""
    found = splits(folder, files)
    if split is None and len(found) < 2:
        return files
    names = ", ".join(found)
    if split is None:
        first = "train" if "train" in found else next(iter(found))
        hint = f"choose one, as data.hub_split={first}, or give one file with data.path=FILE"
        raise UserError(f"data.path: folder '{folder}' holds the splits {names}", hint)
    asked = asked_split(split)
    if asked not in found:
        known = f"it holds {names}" if found else "no name in it tells of a split"
        near = did_you_mean(split, found) if found else "leave data.hub_split out: the folder is read whole"
        raise UserError(f"data.hub_split={split}: folder '{folder}' has no such split, {known}", near)
    return found[asked]


def data_digest(files: Sequence[Path]) -> str:
    """Return the sha256 (hex) of files: of each one's format and content in reading order, not of names or places."""
    try:
        return digest([[file_format(file), file_digest(file)] for file in files])
    except OSError as problem:
        raise UserError(f"data.path: cannot read '{problem.filename}': {problem.strerror}") from problem


def _neighbours(place: Path) -> str:
    if not place.parent.is_dir():
        return f"there is no folder '{place.parent}' either; relative paths start where the command is called"
    shown = sorted(item for item in place.parent.iterdir() if not item.name.startswith("."))
    beside = [item.name for item in shown if file_format(item)]
    near = did_you_mean(place.name, [item.name for item in shown if file_format(item) or item.is_dir()])
    if not near.startswith("did you mean") and beside:
        more = ", ..." if len(beside) > MOST_BESIDE else ""
        return f"data files in '{place.parent}': {', '.join(beside[:MOST_BESIDE])}{more}"
    return near if near.startswith("did you mean") else f"there is no data file ({ENDINGS}) in '{place.parent}'"
