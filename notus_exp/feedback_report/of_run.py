"""The report on the feedback of a run, written into the run's folder: it alone knows all annotators, and the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from notus_exp.contracts.run_file import RunFile, StageRecord
from notus_exp.curation.scores import CRITIQUE
from notus_exp.disk.files import COMPLETIONS, FEEDBACK_HTML
from notus_exp.disk.outputs import artifact, manifest_of
from notus_exp.errors import UserError
from notus_exp.feedback_report.feedback_page import feedback_page
from notus_exp.feedback_report.feedback_tables import AnnotatorSource, ReportedFeedback, WriterPaid
from notus_exp.stages.settings import ANNOTATED

FEEDBACK, PAIRS = "feedback", "pairs"
ANSWERED = "responses_"
"""Begins the names of writers' nodes; the writer's follows."""
LOW_MEAN, HIGH_MEAN = 2.0, 4.0
"""Thresholds of `repair`, where an older record has none."""


def shown(node: str) -> bool:
    """Say whether the report tells of a node: it is out of date where one of these was made anew."""
    return node in (FEEDBACK, PAIRS) or node.startswith((ANNOTATED, ANSWERED))


def write_report(folder: Path, run: RunFile, name: str = FEEDBACK_HTML) -> Path:
    """Write feedback.html into a run's folder; return where it is.

    Args:
        folder: The run's.
        run: Its record, of several rounds that of one (`contracts.rounds_of_run.of_round`).
        name: Of the page.

    Raises:
        UserError: The run has no feedback, or an artifact is gone or not what was written.
        OSError: The page cannot be written.
    """
    path = folder / name
    text = feedback_page(_sources(folder, run))
    path.write_text(text, encoding="utf-8")
    return path


def _sources(folder: Path, run: RunFile) -> ReportedFeedback:
    stages = run.get("stages", {})
    if FEEDBACK not in stages:
        raise UserError(f"run {folder.name} has no feedback: it is {run['status']}", "name a run that got so far")
    own = stages[FEEDBACK]
    annotators = [_annotator(folder, run, node, own) for node in sorted(stages) if node.startswith(ANNOTATED)]
    repair: dict[str, Any] = run.get("config", {}).get("repair") or {}
    pairs = stages[PAIRS]["facts"].get("pairs_out") if PAIRS in stages else None
    return ReportedFeedback(
        _there(folder, run, FEEDBACK, COMPLETIONS),
        annotators,
        repair.get("low_mean", LOW_MEAN),
        repair.get("high_mean", HIGH_MEAN),
        pairs,
        [_paid(node, stages[node]["facts"]) for node in sorted(stages) if node.startswith(ANSWERED)],
    )


def _annotator(folder: Path, run: RunFile, node: str, feedback: StageRecord) -> AnnotatorSource:
    """Return an annotator, who made the feedback's ratings where the feedback was made from what it said."""
    stage = run["stages"][node]
    manifest = manifest_of(folder, run, node)
    settings: dict[str, Any] = manifest.settings if manifest else {}
    rubric = settings.get("rubric")
    about = CRITIQUE if settings.get("form") == CRITIQUE else Path(rubric or "").stem
    made = stage["key"] in feedback.get("inputs", {}).values()
    return AnnotatorSource(_there(folder, run, node, ""), about, made)


def _paid(node: str, facts: Mapping[str, Any]) -> WriterPaid:
    tokens = [facts.get(name) for name in ("prompt_tokens", "completion_tokens")]
    known = [count for count in tokens if count is not None]
    name, asked = node.removeprefix(ANSWERED), facts.get("answers", 0)
    whole = sum(known) if len(known) == len(tokens) else None
    return WriterPaid(name, asked, facts.get("refused", 0), whole, facts.get("cost", 0.0))


def _there(folder: Path, run: RunFile, node: str, file: str) -> Path:
    place = artifact(folder, run, node)
    if not (place / file).exists():
        raise UserError(f"{place / file} is gone", f"the command of run {folder.name} makes it anew")
    return place
