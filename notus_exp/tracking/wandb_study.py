"""The run of a whole study: W&B's record of what the comparison of its arms says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from notus_exp.config.schema import Tracking
from notus_exp.contracts.comparison_file import BASE_MODEL, ComparisonFile
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk.outputs import REPORT_HTML
from notus_exp.tracking.opening import Label, conclude, open_run
from notus_exp.tracking.wandb_tables import table

JOB_TYPE = "study"
CONTRAST = ("metric", "primary", "arm", "reference", "value", "low", "high", "p", "holm", "holm_low",
            "holm_high", "benjamini_hochberg", "prompts", "seeds", "verdict", "words")  # fmt: skip
"""Columns of the table of contrasts, as in comparison.json."""
IN_SUMMARY = ("low", "high", "p", "holm", "holm_low", "holm_high", "verdict", "words")
ARM = ("arm", "metric", "value", "low", "high", "prompts", "seeds")


def track_study(
    tracking: Tracking,
    study: StudyFile,
    comparison: ComparisonFile,
    folder: Path,
    warn: Callable[[str], None],
) -> None:
    """Track a study: a run beside those of its arms, in their group, that carries the comparison.

    The summary has the verdict and, for each contrast of the primary metric, `contrast/<arm> vs <reference>` with its
    interval, p values, verdict and words; tables hold all contrasts and the metrics of all arms and of the base model.
    Each comparison is a run of its own: W&B shows the newest first.

    Args:
        tracking: Where it goes; nothing is done where that is nowhere.
        study: study.json, the run's config.
        comparison: comparison.json.
        folder: The study's folder, with report.html where there is one.
        warn: Told what W&B refuses.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    if tracking.name == "none":
        return
    name = study["name"]
    label = Label(name, tracking.group or name, JOB_TYPE, [f"study={name}", *tracking.tags], dict(study))
    run = open_run(tracking, label, folder, warn)
    conclude(run, lambda: _tell(run, comparison, folder / REPORT_HTML), warn, failed=False)


def _tell(run: Any, comparison: ComparisonFile, report: Path) -> None:
    import wandb

    run.summary["verdict"] = comparison["verdict"]
    run.summary["metric"] = comparison["study"]["metric"]
    for contrast in comparison["contrasts"]:
        if contrast["primary"]:
            name = f"contrast/{contrast['arm']} vs {contrast['reference']}"
            run.summary[name] = contrast["value"]
            for part, value in zip(IN_SUMMARY, _cells(contrast, IN_SUMMARY), strict=True):
                run.summary[f"{name}/{part}"] = value
    shown: dict[str, Any] = {}
    if comparison["contrasts"]:
        rows = [_cells(contrast, CONTRAST) for contrast in comparison["contrasts"]]
        shown["contrasts"] = table(list(CONTRAST), rows)
    measured = {arm["arm"]: arm["metrics"] for arm in comparison["arms"]} | {BASE_MODEL: comparison["base"]["metrics"]}
    rows = [
        [arm, metric, *_cells(estimate, ARM[2:])]
        for arm, metrics in measured.items()
        for metric, estimate in metrics.items()
    ]
    if rows:
        shown["arms"] = table(list(ARM), rows)
    if report.exists():
        # Unchanged: W&B's own style sheet would be loaded from elsewhere.
        shown["report"] = wandb.Html(report.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)
    if shown:
        run.log(shown)


def _cells(row: Mapping[str, object], columns: Sequence[str]) -> list[object]:
    return [row[column] for column in columns]
