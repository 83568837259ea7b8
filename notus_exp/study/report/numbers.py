"""Numbers as a reader wants them: as many digits as the interval can tell, and a unit."""

from __future__ import annotations

import math
from typing import TypedDict

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.evaluation.kit.description import MAXIMIZE, MINIMIZE
from notus_exp.evaluation.metrics import headlines, metric_of
from notus_exp.reporting import tables

NONE = "–"
"""Where there is no number."""


class ShownValue(TypedDict):
    """A value and its interval as texts."""

    text: str
    span: str


def with_unit(metric: str) -> str:
    """Return a metric's name with its unit on a second line, as the label of an axis."""
    label = metric_of(metric).label
    return f"{metric}\n({label})" if label else metric


def about(metric: str) -> str:
    """Return what stands below a metric's name: unit, meaning, and an arrow up or down for where it is better."""
    found = metric_of(metric)
    better = {MAXIMIZE: "↑", MINIMIZE: "↓"}.get(found.direction or "", "")
    return "\N{NO-BREAK SPACE}".join(part for part in (found.label, better) if part)


def unit_after(metric: str) -> str:
    """Return a metric's unit as it stands behind a number; "" where it has none."""
    unit = metric_of(metric).unit
    return f" {unit}" if unit else ""


def number(value: float | None, digits: int | None = None, *, sign: bool = False) -> str:
    """Return a number with some digits after the point, or with three significant ones; "–" for none."""
    if value is None or not math.isfinite(value):
        return NONE
    return with_minus(tables.number(value, digits, sign=sign))


def with_minus(text: str) -> str:
    """Return a number with a minus sign where it is below 0; that of a power of ten stays, so that it can be pasted."""
    return f"−{text[1:]}" if text.startswith("-") else text


def value_of(estimate: MeasuredValue, *, sign: bool = False) -> str:
    """Return the value of `value, low, high` with the digits that its interval can tell.

    These are three significant ones of the interval's half width, where they go beyond three after the point two.
    """
    return number(estimate["value"], _digits(estimate), sign=sign)


def span_of(estimate: MeasuredValue, *, sign: bool = False) -> str:
    """Return the interval of `value, low, high` with the digits of its value; "–" where it is not known."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return "no interval"
    digits = _digits(estimate)
    return f"{number(low, digits, sign=sign)} to {number(high, digits, sign=sign)}"


def shown(estimate: MeasuredValue, *, sign: bool = False) -> ShownValue:
    """Return the texts of a value and its interval."""
    return {"text": value_of(estimate, sign=sign), "span": span_of(estimate, sign=sign)}


def p_of(p: float | None) -> str:
    """Return a p with four digits, small ones as a power of ten; "–" for none."""
    return NONE if p is None else tables.p_value(p)


def duration(seconds: float | None) -> str:
    """Return seconds as seconds, minutes or hours, whichever can be read."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _digits(estimate: MeasuredValue) -> int | None:
    low, high = estimate["low"], estimate["high"]
    half = (high - low) / 2 if low is not None and high is not None else 0.0
    if not half > 0 or not math.isfinite(half):
        return None
    size = math.floor(math.log10(half))
    digits = min(max(min(2 - size, 3), 1 - size, 0), 6)
    return tables.digits_that_tell((estimate["value"], low, high), digits)


def shown_first(names: list[str], primary: str) -> list[str]:
    """Return those of `names` that are shown first: the primary metric, then the headlines of a run."""
    return [name for name in dict.fromkeys([primary, *headlines(names, open_families=False)]) if name in names]
