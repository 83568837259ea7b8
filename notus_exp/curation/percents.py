"""Shares in percent, as the report on a curation shows them."""

from __future__ import annotations

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.tables import with_span

SHADE = 0.3
"""Opacity behind a cell of 100 %."""


def percent(share: MeasuredValue) -> MeasuredValue:
    """Return a share in percent."""
    value, low, high = (None if one is None else 100 * one for one in (share["value"], share["low"], share["high"]))
    return {"value": value, "low": low, "high": high}


def span_of(percents: MeasuredValue, *, sign: bool = False) -> str:
    """Return a number of percents with its interval; a dash where it is not known."""
    return with_span(percents, 1, sign=sign) if percents["value"] is not None else "–"
