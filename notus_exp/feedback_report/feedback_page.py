"""The page feedback.html: tables alone, no scripts, no requests, every text from the data escaped and cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from notus_exp.contracts.annotator_file import Leaning
from notus_exp.curation.percents import SHADE, percent, span_of
from notus_exp.feedback_report.costs_by_pair import CostRow, cost_rows
from notus_exp.feedback_report.disputed_prompts import disputed_prompts
from notus_exp.feedback_report.feedback_tables import MOST_PROMPTS, FeedbackTables, ReportedFeedback, read_feedback
from notus_exp.feedback_report.overall_against_mean import AgainstMean, against_mean
from notus_exp.feedback_report.rater_agreement import AgreementTable, agreements, by_aspect
from notus_exp.feedback_report.rater_leanings import annotator_rows, leaning_rows
from notus_exp.feedback_report.rating_spread import SpreadRow, spread_tables
from notus_exp.feedback_report.who_wrote import WriterRow, cross_table, writer_rows
from notus_exp.reporting.looks import Look
from notus_exp.reporting.pages import page_templates
from notus_exp.reporting.strips import axis, scale_of, strip
from notus_exp.reporting.tables import digits_that_tell, number, with_span

_LOOK = Look("#0072b2", "o", "-")
_NONE = "–"


def feedback_page(sources: ReportedFeedback) -> str:
    """Return the report on feedback as one HTML page.

    Raises:
        FileNotFoundError: A file of it is gone.
        DamagedFileError: An annotator.json cannot be read.
    """
    tables = read_feedback(sources)
    against = against_mean(tables, sources.low_mean, sources.high_mean)
    costs = cost_rows(tables, sources.paid, sources.pairs)
    aspects = by_aspect(tables)
    templates = page_templates(Path(__file__).parent / "templates")
    return templates.get_template("feedback.html.j2").render(
        completions=tables.completions.height,
        prompts=len(set(tables.groups.tolist())),
        models=tables.completions["model"].filter(tables.completions["model"] != "").n_unique(),
        aspects=tables.aspects,
        pairs=sources.pairs,
        sampled=tables.sampled,
        most=MOST_PROMPTS,
        left_out=tables.left_out,
        writers=_writers(writer_rows(tables, "model")),
        principles=_principles(tables),
        crossed=cross_table(tables),
        spreads=[(table.columns, [_spread(row) for row in table.rows]) for table in spread_tables(tables)],
        raters=[(one.aspect, one.raters, _alpha(one.alpha), one.alpha) for one in aspects],
        agreements=_heat(agreements(tables)),
        leanings=[(row.name, row.decided, _share(row.first), _share(row.longer)) for row in leaning_rows(tables)],
        annotators=annotator_rows(tables, sources.pairs),
        against=_against(against) if against else None,
        disputed=disputed_prompts(tables),
        costs=[_cost(row) for row in costs],
        per_pair=_usd(costs[-1].per_pair) if costs else _NONE,
        paid=bool(sources.paid),
    )


def _writers(rows: list[WriterRow]) -> dict[str, Any]:
    """Return the rows of a table of writers, each mean rating drawn on one scale."""
    rated = [row for row in rows if row.average["value"] is not None]
    scale = scale_of([row.average for row in rated], origin=None)
    cells = []
    for row in rows:
        words = f"{row.name}: mean rating {_mean(row.average)}"
        drawn = strip(row.average, scale, _LOOK, words) if rated else ""
        cells.append((row, drawn, _mean(row.average), _mean(row.critique)))
    return {"axis": axis(scale) if rated else "", "rows": cells, "critique": _has(rows), "rated": bool(rated)}


def _has(rows: list[WriterRow]) -> bool:
    return any(row.critique["value"] is not None for row in rows)


def _principles(tables: FeedbackTables) -> dict[str, Any] | None:
    """Return the rows of the principles; None where nothing tells of any."""
    if not (tables.completions["principle"] != "").any():
        return None
    return _writers(writer_rows(tables, "principle"))


def _spread(row: SpreadRow) -> dict[str, Any]:
    shares = [(f"{100 * share:.0f}", f"{SHADE * share:.2f}") for share in row.shares]
    return {**row._asdict(), "mean": _mean(row.mean), "sd": number(row.sd, 2), "shares": shares}


def _heat(found: AgreementTable) -> dict[str, Any]:
    """Return the cells below the diagonal, each with what is behind it."""
    rows = [
        [
            (_alpha(cell), "0" if cell["value"] is None else f"{SHADE * max(cell['value'], 0.0) ** 2:.2f}", cell["n"])
            for cell in cells
        ]
        for cells in found.cells
    ]
    return {"names": found.names, "rows": rows}


def _against(found: AgainstMean) -> dict[str, Any]:
    ends = [" to ".join(f"{end:g}" for end in scale) for scale in found.scales]
    return {
        **found._asdict(),
        "rows": [(row.score, row.completions, _mean(row.ratings)) for row in found.rows],
        "same": _share(found.same),
        "far_share": _share(found.far_share),
        "scales": ends,
    }


def _cost(row: CostRow) -> dict[str, str]:
    return {
        "name": row.name,
        "does": row.does,
        "asked": f"{row.asked:,}",
        "failed": f"{row.failed:,}",
        "tokens": _NONE if row.tokens is None else f"{row.tokens:,}",
        "usd": _usd(row.usd),
        "per_pair": _usd(row.per_pair),
    }


def _usd(value: float | None) -> str:
    return _NONE if value is None else number(value, digits_that_tell([value], 4))


def _alpha(found: Leaning | None) -> str:
    return _mean(found).replace("-", "−") if found else _NONE


def _mean(found: Leaning) -> str:
    return _NONE if found["value"] is None else with_span(found, 2)


def _share(found: Leaning) -> str:
    return span_of(percent(found))
