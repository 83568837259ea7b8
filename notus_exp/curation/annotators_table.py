"""The tables on annotators in the report on a curation."""

from __future__ import annotations

from typing import Any

from notus_exp.contracts.curation_file import AnnotatorFound, AnnotatorsFound
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.curation.percents import SHADE, percent, span_of
from notus_exp.reporting.tables import digits_that_tell, number


def annotators_table(found: AnnotatorsFound) -> dict[str, Any]:
    """Return the agreement of all labellings with what is behind each cell, and a row for each annotator."""
    alphas = [
        [None if one is None else (_alpha(one), f"{SHADE * max(one, 0.0) ** 2:.2f}") for one in row]
        for row in found["alpha"]
    ]
    return {"alpha": alphas, "rows": [annotator_row(one) for one in found["annotators"]]}


def annotator_row(found: AnnotatorFound) -> dict[str, str]:
    """Return the cells of an annotator's row, by column."""
    told = found["told"]
    own = told["self_preference"]
    usd, left_out = found["usd_per_pair"], told.get("not_applicable", 0)
    excess = (
        f"{span_of(percent(own['won']))}; by {own['beside']} {span_of(percent(own['excess']), sign=True)}"
        if own
        else "–"
    )
    return {
        "name": told["name"],
        "judge": " ".join(told["judge"].values()),
        "verdicts": f"{told['verdicts']:,} ({told['asked_for']})",
        "failed": f"{told['failed']:,}" + (f" (N/A: {left_out:,})" if left_out else ""),
        "first": _lean(told["first_preferred"]),
        "contradicting": _lean(told["contradicting"]),
        "longer": _lean(told["longer_preferred"]),
        "own": excess,
        "gold": _lean(found["agrees_with_gold"]),
        "usd": "–" if usd is None else number(usd, digits_that_tell([usd], 4)),
    }


def _alpha(value: float) -> str:
    """Return an alpha with two decimals; what they make nothing of has no sign."""
    return f"{round(value, 2) or 0:.2f}".replace("-", "−")


def _lean(found: MeasuredValue | None) -> str:
    return "–" if found is None else span_of(percent(found))
