"""A measured value with its interval: what run.json, study.json and comparison.json all hold."""

from __future__ import annotations

from typing import TypedDict


class MeasuredValue(TypedDict):
    """A value and how sure it is, in the unit of the metric.

    Attributes:
        value: None where the data cannot tell.
        low: Lower end of the 95 % interval; None where it is not known.
        high: Upper end, likewise.
    """

    value: float | None
    low: float | None
    high: float | None
