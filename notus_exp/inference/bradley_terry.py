"""Strengths of models from head-to-head verdicts.

    P(i beats j) = 1 / (1 + exp(-(strength_i - strength_j)))

(Bradley and Terry 1952, Biometrika 39(3/4)): a logistic regression without intercept on the difference of two
indicators, which statsmodels fits. A tie is half a win for each.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from notus_exp.errors import UserError, did_you_mean
from notus_exp.inference.estimates import CONFIDENCE

LEAST_CLUSTERS, FEW_CLUSTERS = 3, 20
"""Clusters below which there is no interval, and below which sandwich errors are too small more often than not."""

_NO_ERROR = 1e-8
"""Sandwich errors up to this are rounding: the clusters do not differ, as where all verdicts are ties."""


class Strength(NamedTuple):
    """A model's strength in logits above the reference, with its 95 % interval; the reference's is 0 and has none.

    `p` is of the two-sided test that it equals the reference. Error, interval and p are NaN where the clusters are
    fewer than `LEAST_CLUSTERS`, or do not differ.
    """

    name: str
    value: float
    low: float
    high: float
    standard_error: float
    p: float


class BradleyTerry(NamedTuple):
    """The fit: models from the strongest down, the verdicts, ties, the model at 0, and clusters; None without."""

    strengths: list[Strength]
    games: int
    ties: int
    reference: str
    clusters: int | None


def bradley_terry(
    first: Sequence[str],
    second: Sequence[str],
    score: Sequence[float],
    *,
    reference: str | None = None,
    clusters: Sequence[Any] | None = None,
) -> BradleyTerry:
    """Fit the strengths of all models that appear.

    Args:
        first: Length N, a model's name for each verdict.
        second: Length N, its opponent.
        score: Length N, 1 where the first wins, 0 where the second does, 0.5 for a tie; a preference between them is
            taken as the share of a win.
        reference: The model at 0; None takes the first name in alphabetical order.
        clusters: Length N, the prompt of each verdict: verdicts on one prompt may depend on each other (sandwich
            errors; Liang and Zeger 1986), and intervals have the quantiles of t with G - 1 degrees of freedom, G
            clusters (Cameron and Miller 2015, Journal of Human Resources 50(2)). None where all are independent.

    Raises:
        UserError: A verdict is no verdict, the reference is unknown, or a group of models never meets or never loses
            to the others, so that no finite strengths fit best (Ford 1957, American Mathematical Monthly 64(8)).
    """
    points = np.asarray(score, dtype=np.float64)
    _check(first, second, points, clusters)
    names = sorted({*first, *second})
    base = names[0] if reference is None else reference
    if base not in names:
        raise UserError(f"the reference '{base}' is in no verdict", did_you_mean(base, names))
    place = {name: index for index, name in enumerate(names)}
    one, other = (np.array([place[name] for name in side]) for side in (first, second))
    _check_finite(names, one, other, points)
    values, errors = _fit(one, other, points, place[base], len(names), clusters)
    count = None if clusters is None else len(set(clusters))
    degrees = math.inf if count is None else max(count - 1, 1)  # with fewer the errors are NaN, and so is all else
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * errors
    ps = 2 * stats.t.sf(np.abs(values / errors), degrees)
    strengths = [
        Strength(name, *map(float, row))
        for name, *row in zip(names, values, values - reach, values + reach, errors, ps, strict=True)
    ]
    strengths.sort(key=lambda strength: -strength.value)
    return BradleyTerry(strengths, points.size, int((points == 0.5).sum()), base, count)


def _fit(
    one: NDArray[np.intp],
    other: NDArray[np.intp],
    points: NDArray[np.float64],
    base: int,
    models: int,
    clusters: Sequence[Any] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return strengths and errors, shape (models,) each, 0 and NaN for the base."""
    import statsmodels.api as sm  # half a second of pandas, which few commands need
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    sides = np.eye(models)[one] - np.eye(models)[other]
    free = np.arange(models) != base
    model = sm.GLM(points, sides[:, free], family=sm.families.Binomial())
    groups = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    robust = groups is not None and groups.max() + 1 >= LEAST_CLUSTERS
    how: dict[str, Any] = {"cov_type": "cluster", "cov_kwds": {"groups": groups}} if robust else {}
    with warnings.catch_warnings():
        # Separation was refused before: a perfect fit is one of shares, such as ties alone, which has finite strengths.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fitted = model.fit(tol=1e-12, **how)
    values, errors = np.zeros(models), np.full(models, math.nan)
    values[free] = fitted.params
    if groups is None:
        errors[free] = fitted.bse
    elif robust:
        errors[free] = np.where(fitted.bse > _NO_ERROR, fitted.bse, math.nan)
    return values, errors


def _check(
    first: Sequence[str], second: Sequence[str], points: NDArray[np.float64], clusters: Sequence[Any] | None
) -> None:
    if not points.size:
        raise UserError("Bradley-Terry: there is no verdict", "give at least one between two models")
    for row, (one, other, value) in enumerate(zip(first, second, points, strict=True)):
        if one == other:
            raise UserError(f"Bradley-Terry: verdict {row} is of '{one}' against itself", "leave such verdicts out")
        if not 0 <= value <= 1:
            hint = "1: the first wins, 0: the second wins, 0.5: a tie; leave failed verdicts out and count them"
            raise UserError(f"Bradley-Terry: the score of verdict {row} ('{one}' against '{other}') is {value}", hint)
    if clusters is not None and len(clusters) != points.size:
        raise ValueError(f"{len(clusters)} clusters for {points.size} verdicts")


def _check_finite(
    names: Sequence[str], one: NDArray[np.intp], other: NDArray[np.intp], points: NDArray[np.float64]
) -> None:
    """Refuse verdicts whose graph, an edge from every model that won something to its opponent, is not in one piece."""
    won, lost = points > 0, points < 1
    winners, losers = np.r_[one[won], other[lost]], np.r_[other[won], one[lost]]
    wins = csr_array((np.ones(winners.size), (winners, losers)), shape=(len(names), len(names)))
    pieces, piece = connected_components(wins, connection="weak")
    if pieces > 1:
        groups = " and ".join(_names(names, piece == number) for number in range(pieces))
        raise UserError(f"Bradley-Terry: {groups} never met", "compare each group on its own, or let them meet")
    pieces, piece = connected_components(wins, connection="strong")
    if pieces == 1:
        return
    beaten = set(piece[losers[piece[winners] != piece[losers]]])
    top = piece == next(number for number in range(pieces) if number not in beaten)
    raise UserError(
        f"Bradley-Terry: {_names(names, top)} never lost to {_names(names, ~top)}, so no finite strengths fit",
        "gather more verdicts, or compare the groups by their win rate",
    )


def _names(names: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    return "[" + ", ".join(name for name, is_in in zip(names, chosen, strict=True) if is_in) + "]"
