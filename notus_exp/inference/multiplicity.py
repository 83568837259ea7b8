"""Many contrasts, one question: p values corrected for having looked at all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from notus_exp.inference.estimates import CONFIDENCE


class Adjusted(NamedTuple):
    """One p after both corrections.

    Attributes:
        holm: Below 0.05: one false positive in the whole family in at most 5 % of studies (Holm 1979, Scandinavian
            Journal of Statistics 6(2)).
        benjamini_hochberg: Below 0.05: of all that are called different at most 5 % are not, on average (Benjamini and
            Hochberg 1995, JRSS B 57(1)).
    """

    holm: float
    benjamini_hochberg: float


def adjust(p: Sequence[float]) -> list[Adjusted]:
    """Correct a family of p values; one that is NaN stays NaN and does not count in the family."""
    from statsmodels.stats.multitest import multipletests  # half a second of pandas, which few commands need

    given = np.asarray(p, dtype=np.float64)
    known = ~np.isnan(given)
    holm, hochberg = np.full((2, given.size), math.nan)
    if known.any():
        holm[known] = multipletests(given[known], method="holm")[1]
        hochberg[known] = multipletests(given[known], method="fdr_bh")[1]
    return [Adjusted(float(one), float(other)) for one, other in zip(holm, hochberg, strict=True)]


def step_confidences(p: Sequence[float]) -> list[float]:
    """Return the level of each contrast's interval at Holm's own step, so that it leaves out 0 where Holm's p < 0.05.

    Holm compares the smallest p with 0.05 / N, the next with 0.05 / (N - 1) and so on, and stops at the first that is
    not below. Each interval has the level at which its contrast was compared, those after the stop the level there.

    Args:
        p: Of the family; one that is NaN does not count in it and has NaN.
    """
    levels = [math.nan] * len(p)
    order = sorted((index for index, one in enumerate(p) if not math.isnan(one)), key=lambda index: p[index])
    left, stopped = len(order), False
    for index in order:
        levels[index] = 1 - (1 - CONFIDENCE) / left
        stopped = stopped or p[index] * left >= 1 - CONFIDENCE
        left -= not stopped
    return levels
