"""The runs below an output folder, and the one that a user means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.run_file import read_run_file
from notus_exp.contracts.study_file import read_study_file
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.outputs import STUDY_JSON
from notus_exp.errors import UserError, did_you_mean
from notus_exp.frames.run_data import RunData, load_run

DAMAGED, KILLED = "damaged", "killed"
"""States beside those of run.json: it cannot be read; it says `running` and no process of it is there."""


def find_run(text: str, outputs: Path) -> RunData:
    """Return the run that a user names.

    Args:
        text: A run's folder, its id (a shell may have put `/` behind it), or a part of the id that no other run has,
            such as the hash at its end.
        outputs: Folder that holds `runs/`.

    Raises:
        UserError: No run is named so, or several are, or its run.json cannot be read.
    """
    if text and (Path(text) / RUN_JSON).is_file():
        return load_run(text)
    text = text.rstrip("/") or text
    known = [path.name for path in folders(outputs)]
    if text in known:
        return load_run(outputs / "runs" / text)
    found = [name for name in known if text in name]
    if len(found) == 1:
        return load_run(outputs / "runs" / found[0])
    if found:
        raise UserError(
            f"'{text}' is in the names of {len(found)} runs", f"give more of one: {', '.join(found[:10])}{_more(found)}"
        )
    if study := next(
        (path for path in (Path(text), outputs / "studies" / text) if (path / STUDY_JSON).is_file()), None
    ):
        raise UserError(
            f"'{text}' is a study, and no run: {_runs_in(study)}",
            f"give one of its runs, or compare them: python -m notus_exp.compare {study}",
        )
    raise UserError(
        f"there is no run '{text}' in {outputs / 'runs'}",
        did_you_mean(text, known) or f"python -m notus_exp.runs list {outputs} shows them",
    )


def _runs_in(study: Path) -> str:
    arms = read_study_file(study / STUDY_JSON, check_seal=False)["arms"]
    found = [run for arm in arms.values() for run in arm["runs"].values()]
    return f"{', '.join(found[:10])}{_more(found)}" if found else "it names none"


def all_runs(outputs: Path) -> list[RunData]:
    """Return the runs below an output folder, by name; of one whose run.json is damaged the status is `damaged`.

    Raises:
        UserError: There is no folder of runs, or a run.json is of a newer version.
    """
    return [_read(folder) for folder in folders(outputs)]


def folders(outputs: Path) -> list[Path]:
    """Return the folders of the runs below an output folder, by name.

    Raises:
        UserError: There is no folder of runs.
    """
    place = outputs / "runs"
    if not place.is_dir():
        raise UserError(f"{outputs} has no folder runs", "give the output folder of runs, such as outputs")
    return [path.parent for path in sorted(place.glob(f"*/{RUN_JSON}"))]


def state_of_run(run: RunData) -> str:
    """Return how a run stands: its status, or `killed` where it says that it is running and no process holds it."""
    lock = run.folder / ".lock"
    if run.status != "running" or not lock.exists():
        return run.status
    try:
        with FileLock(lock).acquire(timeout=0):
            return KILLED
    except Timeout:
        return run.status


def studies_of(outputs: Path) -> dict[str, list[str]]:
    """Return run id -> names of the studies whose arms it is in; a study that cannot be read names none."""
    found: dict[str, list[str]] = {}
    for name, run in _named(outputs):
        found.setdefault(run, []).append(name)
    return {run: sorted({*names}) for run, names in found.items()}


def _named(outputs: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((outputs / "studies").glob(f"*/{STUDY_JSON}")):
        try:
            study = read_study_file(path, check_seal=False)
        except UserError:
            continue
        for arm in study["arms"].values():
            for run in arm["runs"].values():
                yield path.parent.name, run


def _read(folder: Path) -> RunData:
    try:
        return RunData(folder, read_run_file(folder / RUN_JSON))
    except DamagedFileError as error:
        return RunData(folder, {"status": DAMAGED, "error": error.message})


def _more(found: list[str]) -> str:
    return f" and {len(found) - 10} more" if len(found) > 10 else ""
