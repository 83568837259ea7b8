"""Krippendorff's alpha: agreement of observers beyond what chance would give, with missing values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def interval_alpha(values: NDArray[np.float64]) -> float:
    """Return Krippendorff's alpha with the interval metric, (a - b)^2.

        alpha = 1 - D_o / D_e
        D_o = 1/n sum_u 1/(m_u - 1) sum_{i != j in u} (v_i - v_j)^2
        D_e = 1/(n (n - 1)) sum_{i != j} (v_i - v_j)^2

    over the n values of units u that have m_u >= 2 (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").
    1 is agreement without exception, 0 that of chance, below 0 disagreement beyond chance. The library krippendorff
    gives the same numbers and is not used: it is under the GPL, and holds for each unit a matrix of all values by all
    values, which the scores of thousands of completions do not fit.

    Args:
        values: Shape (observers, units); NaN is missing.

    Returns:
        NaN where no unit has two values, or all values are alike, of which agreement cannot be told from chance.
    """
    present = ~np.isnan(values)
    pairable = present.sum(axis=0) >= 2
    values, present = values[:, pairable], present[:, pairable]
    n = int(present.sum())
    if n == 0:
        return math.nan
    # differences do not change with the origin, and squares lose fewer digits near it
    centred = np.where(present, values - values[present].mean(), 0.0)
    each = present.sum(axis=0)
    within = 2 * (each * (centred**2).sum(axis=0) - centred.sum(axis=0) ** 2)
    observed = float((within / (each - 1)).sum()) / n
    spread = float((centred**2).sum())
    expected = 2 * (n * spread - float(centred.sum()) ** 2) / (n * (n - 1))
    largest = float(np.abs(values[present]).max())
    if expected <= 1e-20 * largest**2:
        return math.nan
    return 1 - observed / expected
