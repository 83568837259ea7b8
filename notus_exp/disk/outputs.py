"""A study on disk: study.json, and the runs that it names."""

from __future__ import annotations

import difflib
from pathlib import Path

from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.run_file import RunFile, RunsBySeed, read_run_file
from notus_exp.contracts.study_file import StudyFile, read_study_file
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST, RUN_JSON
from notus_exp.errors import UserError

STUDY_JSON = "study.json"
COMPARISON_JSON, COMPARISON_CSV, REPORT_HTML = "comparison.json", "comparison.csv", "report.html"
NOT_STARTED = "not started"
_STUDIES = Path("outputs/studies")
_RECORD_AGAIN = "give the study's command again: it makes the record anew"


def read_study(folder: Path, *, check_seal: bool = True) -> StudyFile:
    """Return the content of study.json.

    Args:
        folder: The study's.
        check_seal: Whether content that does not fit its seal is refused.

    Raises:
        UserError: The folder is not a study, or its file is damaged or of a newer version.
    """
    path = folder / STUDY_JSON
    if not path.is_file():
        raise UserError(f"{folder} is not a study: it has no {STUDY_JSON}", study_meant(folder))
    return read_study_file(path, check_seal=check_seal)


def study_meant(folder: Path) -> str:
    """Return which study was meant by a folder that is none: that of its name in outputs/studies, or the nearest."""
    for home in (_STUDIES, folder.parent):
        known = [path.parent.name for path in home.glob(f"*/{STUDY_JSON}")]
        if near := difflib.get_close_matches(folder.name, known, n=1):
            return f"did you mean '{home / near[0]}'?"
    return f"give a study's folder, such as {_STUDIES / 'mine'}"


def runs_of(folder: Path, study: StudyFile) -> RunsBySeed:
    """Return arm -> seed -> content of run.json, seeds in order.

    Of a run that has none only `status` is known, and the `error` where it failed before it could begin.

    Raises:
        DamagedFileError: A run.json is damaged or of another run: what is made without it would not be the study's.
        NewerFormatError: A run.json is of a newer version.
    """
    unplanned = study.get("unplanned") or {}
    found: RunsBySeed = {}
    for arm, spec in study["arms"].items():
        runs = {int(seed): sound_run(folder, run) for seed, run in spec["runs"].items()}
        for seed, reason in unplanned.get(arm, {}).items():
            # one that was killed could not say so: its own record still calls it running
            status = runs[int(seed)]["status"] if int(seed) in runs else NOT_STARTED
            if status in (NOT_STARTED, "running"):
                runs[int(seed)] = {"status": "failed", "error": reason}
        found[arm] = dict(sorted(runs.items()))
    return found


def run_json(folder: Path, run: str) -> Path:
    """Return where a run of a study has its record, if it has one."""
    return outputs(folder) / "runs" / run / RUN_JSON


def sound_run(folder: Path, run: str) -> RunFile:
    """Return the content of a run's run.json; only a `status` where there is none.

    Raises:
        DamagedFileError: It cannot be read, or is the record of another run.
        NewerFormatError: It is of a newer version.
    """
    path = run_json(folder, run)
    if not path.is_file():
        return {"status": NOT_STARTED}
    try:
        found = read_run_file(path)
    except DamagedFileError as error:
        raise DamagedFileError(f"run {run} has no usable record: {error.message}", _RECORD_AGAIN) from error
    if found.get("run_id", run) != run:
        raise DamagedFileError(
            f"run {run} has the record of another one: {path} was written by the run {found['run_id']}", _RECORD_AGAIN
        )
    return found


def read_run(folder: Path, run: str) -> RunFile:
    """Return the content of a run's run.json as `sound_run`, but of one that is no use that the run failed, and why.

    It is for who makes the run again then; who concludes something from runs takes `sound_run`.

    Raises:
        NewerFormatError: It is of a newer version.
    """
    try:
        return sound_run(folder, run)
    except DamagedFileError as error:  # the run's next attempt writes it anew
        what = "damaged" if isinstance(error.__cause__, DamagedFileError) else "of another run"
        return {"status": "failed", "error": f"{RUN_JSON} is {what}; the study's command writes it again"}


def artifact(folder: Path, run: RunFile, node: str) -> Path:
    """Return the folder of an artifact of a run, wherever the outputs were moved to; perhaps it is gone.

    Raises:
        DamagedFileError: A file in it is not what was written, or it is another artifact than the run's.
    """
    stage = run["stages"][node]
    store = ArtifactStore(outputs(folder) / "artifacts")
    place = store.root / Path(stage["path"]).name
    if place.is_dir():
        damage = _damage(store, place, stage["key"])
        if damage:
            raise DamagedFileError(damage, "the command that made it makes it anew: give it again")
    return place


def manifest_of(folder: Path, run: RunFile, node: str) -> Manifest | None:
    """Return what the manifest of a run's artifact says; None where it is gone, or not the run's. No file is read.

    Args:
        folder: The study's.
        run: A run that has the node.
        node: Name of the node.

    Raises:
        NewerFormatError: It is of a newer version.
    """
    stage = run["stages"][node]
    path = outputs(folder) / "artifacts" / Path(stage["path"]).name / MANIFEST
    try:
        found = read_manifest(path)
    except (OSError, DamagedFileError):  # whoever needs what lies there says so
        return None
    return found if found.key == stage["key"] else None


def _damage(store: ArtifactStore, place: Path, key: str) -> str | None:
    try:
        manifest = read_manifest(place / MANIFEST)
    except FileNotFoundError:  # nothing tells what was written: its run finds it incomplete and makes it anew
        return None
    except DamagedFileError as error:
        return error.message
    if manifest.key != key:
        return f"{place / MANIFEST} is of another artifact: its key is not the run's"
    return store.check_files(place.name, manifest).damage


def outputs(folder: Path) -> Path:
    """Return the folder that holds studies, runs and artifacts."""
    return folder.absolute().parent.parent
