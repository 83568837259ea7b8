"""The page rounds.html of a run: its rounds side by side, and the pages of each; no scripts, no requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.disk.files import CURATION_HTML, FEEDBACK_HTML, ROUNDS_HTML
from notus_exp.evaluation.metrics import metric_of
from notus_exp.feedback_report.of_run import write_report
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.looks import Look
from notus_exp.reporting.pages import page_templates
from notus_exp.reporting.strips import axis, scale_of, strip
from notus_exp.reporting.tables import with_span
from notus_exp.rounds_report.each_round import EachRound
from notus_exp.rounds_report.rounds_told import EXPLORATORY, added, made_of

_BASE_LOOK, _LOOK = Look("#8a8f98", "o", "-"), Look("#0072b2", "o", "-")


def write_rounds(run: RunData, rounds: list[EachRound]) -> Path:
    """Write rounds.html into a run's folder, and the report on the feedback of each earlier round; return the page.

    Raises:
        UserError: An artifact is gone or not what was written.
        OSError: A page cannot be written.
    """
    for one in rounds[:-1]:
        if one.prompts is not None:
            write_report(run.folder, one.run.record, feedback_page_of(one.number))
    path = run.folder / ROUNDS_HTML
    path.write_text(rounds_page(run, rounds), encoding="utf-8")
    return path


def rounds_page(run: RunData, rounds: list[EachRound]) -> str:
    """Return the rounds of a run as one HTML page."""
    templates = page_templates(Path(__file__).parent / "templates")
    told: dict[str, Any] = run.record.get("config", {}).get("rounds", {})
    return templates.get_template("rounds.html.j2").render(
        run=run.run_id,
        status=run.status,
        rounds=told,
        made_of=made_of(rounds),
        metrics=[_metric(name, rounds) for name in _names(rounds)],
        added=added(rounds),
        pages=[(one.number, _pages(run, one)) for one in rounds],
        exploratory=EXPLORATORY,
        notes=list(dict.fromkeys(note for one in rounds for note in one.notes)),
    )


def feedback_page_of(number: int) -> str:
    """Return the name of the report on the feedback of a round before the last one."""
    return f"feedback-round{number}.html"


def _names(rounds: list[EachRound]) -> list[str]:
    return list(dict.fromkeys(name for one in rounds for name in one.metrics()))


def _metric(name: str, rounds: list[EachRound]) -> dict[str, Any]:
    """Return the rows of a metric: the base model's and each round's, drawn on one scale."""
    known = [one.run.record.get("metrics", {}) for one in rounds]
    base = next((found[f"base/{name}"] for found in known if f"base/{name}" in found), None)
    rows: list[tuple[str, MeasuredValue | None, Look]] = [("base", base, _BASE_LOOK)] if base else []
    rows += [(f"round {one.number}", found.get(name), _LOOK) for one, found in zip(rounds, known, strict=True)]
    scale = scale_of([value for _, value, _ in rows if value is not None], origin=None)
    cells = []
    for who, value, look in rows:
        text = with_span(value, metric_of(name).digits)
        drawn = strip(value, scale, look, f"{who}: {name} {text}") if value is not None else ""
        cells.append((who, drawn, text))
    return {"name": name, "axis": axis(scale), "rows": cells}


def _pages(run: RunData, one: EachRound) -> list[tuple[str, str]]:
    """Return the names and places, seen from the run's folder, of the pages of a round that lie there."""
    last = one.number == run.rounds
    feedback = FEEDBACK_HTML if last else feedback_page_of(one.number)
    found = [("feedback", feedback)] if (run.folder / feedback).is_file() else []
    stage = one.run.record.get("stages", {}).get("pairs")
    if stage:
        folder = Path(stage["path"]).name
        if (run.artifacts / folder / CURATION_HTML).is_file():
            found.append(("curation", f"../../artifacts/{folder}/{CURATION_HTML}"))
    return found
