"""What a study leaves for its readers: comparison.json, comparison.csv and report.html."""

from __future__ import annotations

from pathlib import Path

from notus_exp.comparison.analysis import analyse
from notus_exp.comparison.tidy import tidy
from notus_exp.contracts.comparison_file import FORMAT, ComparisonFile, read_comparison
from notus_exp.contracts.format import DamagedFileError, refuse_newer, sealed
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.json_files import write_json
from notus_exp.disk.outputs import COMPARISON_CSV, COMPARISON_JSON, NOT_STARTED, REPORT_HTML, read_run, read_study
from notus_exp.errors import UserError


def write_outcome(
    folder: Path,
    *,
    out: Path | None = None,
    baseline: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
) -> ComparisonFile:
    """Compare a study's arms, or say what a search's trials are worth, and write the three files.

    Args:
        folder: outputs/studies/<name>.
        out: Folder for the files, made where it is missing; None: the study's.
        baseline: As in `analysis.analyse`; a search has none.
        metric: As in `analysis.analyse`.
        margin: As in `analysis.analyse`.

    Returns:
        The comparison.

    Raises:
        UserError: As `analysis.analyse`, or a run has no record any more of which the comparison that would be written
            over has a result; nothing is written then.
        NewerFormatError: There is a comparison.json of a newer version, which would be written over.
    """
    from notus_exp.study.report import write_report  # imports matplotlib and Jinja2

    place = out or folder
    refuse_newer(place / COMPARISON_JSON, FORMAT)
    study = read_study(folder, check_seal=False)  # `analyse` checks it
    if study["kind"] == "search":
        from notus_exp.study.search.search_comparison import search_comparison  # imports Optuna

        comparison = search_comparison(folder, study)
    else:
        _refuse_lost(place, folder, study)
        comparison = analyse(folder, baseline=baseline, metric=metric, margin=margin)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / COMPARISON_JSON, sealed(comparison))
    tidy(comparison).write_csv(place / COMPARISON_CSV)
    write_report(folder, comparison, place / REPORT_HTML)
    return comparison


def _refuse_lost(place: Path, folder: Path, study: StudyFile) -> None:
    """Refuse to write over a comparison with one that lacks a run, as its record is gone."""
    try:
        before = read_comparison(place / COMPARISON_JSON)
    except (FileNotFoundError, DamagedFileError):
        return
    for row in before.get("arms", []):
        now = study["arms"].get(row["arm"])
        for seed in map(str, row.get("seeds", [])):
            run = row.get("runs", {}).get(seed)
            if now is None or run is None or now["runs"].get(seed) != run:
                continue
            if read_run(folder, run)["status"] == NOT_STARTED:
                raise UserError(
                    f"run {run} (arm '{row['arm']}', seed {seed}) has no {RUN_JSON} any more, and"
                    f" {place / COMPARISON_JSON} was made with it",
                    f"give the study's command again: it makes the run anew; or delete {COMPARISON_JSON} to compare"
                    " without it",
                )
