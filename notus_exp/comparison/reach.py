"""How far two models may lie apart on one prompt, as far as that is known. Cautions ask it; no value is cut to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from notus_exp.evaluation.kit.description import Metric, Span
from notus_exp.inference.crossed import Array


class Reach(NamedTuple):
    """The least and the largest difference of a prompt.

    Attributes:
        known: As far as the metric's scale goes; None where it has none.
        seen: As far apart as the values of the prompts lie that were measured; None where a scale tells more.
    """

    known: Span | None = None
    seen: Span | None = None


def reach_of(
    metric: Metric, tables: Sequence[Array], *, most: float | None = None, against: float | None = None
) -> Reach:
    """Return how far the difference of a prompt may go.

    A metric's scale is widened by what was seen beyond it (a judge's rating of 11). Values that are 0, a whole and the
    half of it alone are verdicts of yes, no and a tie, whatever metric they are of.

    Args:
        metric: Of the values.
        tables: Shape (K, n) of each model, seeds by prompts, NaN where missing.
        most: The largest value that a prompt can have, where the prompts tell it; the least is then 0.
        against: The constant that the values are compared with; None where it is values of their own kind.
    """
    means = np.concatenate([table.mean(axis=0) for table in tables if table.size] or [np.empty(0)])
    means = means[~np.isnan(means)]
    if not means.size:
        return Reach()
    scale = metric.scale or metric.span or (None if most is None else (0.0, most)) or _verdicts(tables)
    ends = [float(means.min()), float(means.max()), *(scale or ())]
    low, high = min(ends), max(ends)
    least, largest = (low, high) if against is None else (against, against)
    found = (low - largest, high - least)
    return Reach(known=found) if scale else Reach(seen=found)


def _verdicts(tables: Sequence[Array]) -> Span | None:
    """Return the span of values that are a yes (the largest), a no (0) or a tie alone; None where there are others."""
    found = np.unique(np.concatenate([table.ravel() for table in tables]))
    found = found[~np.isnan(found)]
    whole = float(found[-1])
    return (0.0, whole) if found[0] == 0 < whole and np.isin(found, [0, whole / 2, whole]).all() else None
