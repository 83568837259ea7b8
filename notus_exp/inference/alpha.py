"""Krippendorff's alpha: agreement of observers beyond what chance would give, with missing values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from notus_exp.inference.estimates import Estimate, mean_estimate


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
    return alpha_estimate(values, np.zeros(values.shape[1], dtype=np.int64)).value


def alpha_estimate(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> Estimate:
    """Return `interval_alpha` with a 95 % interval over clusters of units.

    With s_u the sum of a unit's values, q_u that of their squares, and n, W, S and Q the sums over units of m_u, of
    2 (m_u q_u - s_u^2) / (m_u - 1), of s_u and of q_u

        alpha = 1 - W (n - 1) / (2 (n Q - S^2)),

    a smooth function of four totals over clusters. Its linearisation at them gives each of the G clusters the
    pseudo-value alpha + G grad . (T_c - T / G), whose mean is alpha and whose t interval is that of the delta method
    (the infinitesimal jackknife; Jaeckel 1972, Efron 1982, "The jackknife, the bootstrap and other resampling plans").

    Args:
        values: Shape (observers, units); NaN is missing.
        clusters: The prompt of each unit, shape (units,): units of one prompt may depend on each other.

    Returns:
        The estimate; `n` counts the clusters with a unit that has two values. NaN where alpha is not defined.
    """
    present = ~np.isnan(values)
    pairable = present.sum(axis=0) >= 2
    values, present = values[:, pairable], present[:, pairable]
    n = int(present.sum())
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    groups = np.unique(clusters[pairable], return_inverse=True)[1]
    # differences do not change with the origin, and squares lose fewer digits near it
    centred = np.where(present, values - values[present].mean(), 0.0)
    each, sums, squares = present.sum(axis=0), centred.sum(axis=0), (centred**2).sum(axis=0)
    within = 2 * (each * squares - sums**2) / (each - 1)
    spread, total = float(squares.sum()), float(sums.sum())
    observed = float(within.sum()) / n
    expected = 2 * (n * spread - total**2) / (n * (n - 1))
    largest = float(np.abs(values[present]).max())
    if expected <= 1e-20 * largest**2:
        return Estimate(math.nan, math.nan, math.nan, int(groups.max()) + 1)
    alpha, ratio = 1 - observed / expected, observed / expected
    apart = n * spread - total**2  # of which the ratio is W (n - 1) / (2 apart)
    slopes = (
        (within, -ratio / float(within.sum()) if observed else -(n - 1) / (2 * apart)),
        (each, -ratio / (n - 1) + ratio * spread / apart),
        (sums, -2 * ratio * total / apart),
        (squares, ratio * n / apart),
    )
    count = int(groups.max()) + 1
    linear = np.zeros(count)
    for part, slope in slopes:
        linear += slope * np.bincount(groups, weights=part, minlength=count)
    pseudo: NDArray[np.float64] = alpha + count * (linear - linear.mean())
    found = mean_estimate(pseudo, span=(-math.inf, 1.0))
    return Estimate(alpha, found.low, found.high, count)
