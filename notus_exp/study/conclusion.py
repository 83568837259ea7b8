"""What a study leaves for its readers: comparison.json, comparison.csv and report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from notus_exp.comparison.analysis import analyse
from notus_exp.comparison.tidy import tidy
from notus_exp.disk.artifacts import write_json
from notus_exp.disk.outputs import COMPARISON_CSV, COMPARISON_JSON, REPORT_HTML


def write_outcome(
    folder: Path,
    *,
    out: Path | None = None,
    baseline: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
) -> dict[str, Any]:
    """Compare a study's arms and write the three files; return the comparison.

    Args:
        folder: outputs/studies/<name>.
        out: Folder for the files, made where it is missing; None: the study's.
        baseline: As in `analysis.analyse`.
        metric: As in `analysis.analyse`.
        margin: As in `analysis.analyse`.

    Raises:
        UserError: As `analysis.analyse`; nothing is written then.
    """
    from notus_exp.study.report import write_report  # imports matplotlib and Jinja2

    comparison = analyse(folder, baseline=baseline, metric=metric, margin=margin)
    place = out or folder
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / COMPARISON_JSON, comparison)
    tidy(comparison).write_csv(place / COMPARISON_CSV)
    write_report(folder, comparison, place / REPORT_HTML)
    return comparison
