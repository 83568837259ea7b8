"""Strengths of models from head-to-head verdicts.

    P(i beats j) = 1 / (1 + exp(-(strength_i - strength_j)))

(Bradley and Terry 1952, Biometrika 39(3/4)): a logistic regression without intercept on the difference of two
indicators. A tie is half a win for each. The likelihood needs the games of each pair and no more (`games.py`), so that
Newton's method takes the time of a few systems of the models' number, whatever the number of games.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from notus_exp.errors import UserError, did_you_mean
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.games import PairedGames, games_of_verdicts

LEAST_CLUSTERS, FEW_CLUSTERS = 3, 20
"""Clusters below which there is no interval, and below which sandwich errors are too small more often than not."""

_NO_ERROR = 1e-8
"""Sandwich errors up to this are rounding: the clusters do not differ, as where all verdicts are ties."""

_STEP, _STEPS = 1e-12, 200
"""A step of Newton's method that ends it, in logits, and how many there are at most; ten are usual."""

_Floats = NDArray[np.float64]


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
    return fit_strengths(games_of_verdicts(first, second, score, clusters), reference)


def fit_strengths(games: PairedGames, reference: str | None = None) -> BradleyTerry:
    """Fit the strengths from the sums of games; see `bradley_terry`.

    Args:
        games: Of all models.
        reference: The model at 0; None takes the first.

    Raises:
        UserError: As `bradley_terry`.
    """
    names = games.names
    if not games.total:
        raise UserError("Bradley-Terry: there is no verdict", "give at least one between two models")
    base = names[0] if reference is None else reference
    if base not in names:
        raise UserError(f"the reference '{base}' is in no verdict", did_you_mean(base, names))
    _check_finite(names, games.points)
    values, errors = _fit(games, names.index(base))
    degrees = math.inf if games.clusters is None else max(games.clusters - 1, 1)  # with fewer all errors are NaN
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * errors
    ps = 2 * stats.t.sf(np.abs(values / errors), degrees)
    strengths = [
        Strength(name, *map(float, row))
        for name, *row in zip(names, values, values - reach, values + reach, errors, ps, strict=True)
    ]
    strengths.sort(key=lambda strength: -strength.value)
    return BradleyTerry(strengths, games.total, games.ties, base, games.clusters)


def _fit(games: PairedGames, base: int) -> tuple[_Floats, _Floats]:
    """Return strengths and errors, shape (models,) each, 0 and NaN for the base."""
    models = len(games.names)
    free = np.arange(models) != base
    values, errors = np.zeros(models), np.full(models, math.nan)
    for _ in range(_STEPS):
        chances = expit(values[:, None] - values)
        slope = (games.points - games.played * chances).sum(axis=1)[free]
        step = cho_solve(_information(games.played, chances, free), slope)
        values[free] += step * min(1.0, 1 / max(float(np.abs(step).max()), 1e-300))  # one logit at most at once
        if np.abs(step).max() < _STEP:
            break
    chances = expit(values[:, None] - values)
    inverse = cho_solve(_information(games.played, chances, free), np.eye(models - 1))
    if games.clusters is None:
        errors[free] = np.sqrt(np.diag(inverse))
    elif games.clusters >= LEAST_CLUSTERS:
        scores = games.scores(chances)[:, free]
        # the correction of Liang and Zeger's sandwich for few clusters, as statsmodels and Stata have it
        spare = games.total - (models - 1)
        few = games.clusters / (games.clusters - 1) * (games.total - 1) / spare if spare > 0 else math.nan
        sandwich = np.sqrt(few * np.maximum(np.diag(inverse @ _squared(scores) @ inverse), 0))
        errors[free] = np.where(sandwich > _NO_ERROR, sandwich, math.nan)
    return values, errors


def _information(played: _Floats, chances: _Floats, free: NDArray[np.bool_]) -> tuple[_Floats, bool]:
    """Return the factored information of the free strengths, minus the likelihood's second derivative."""
    weights = played * chances * (1 - chances)
    full = np.diag(weights.sum(axis=1)) - weights
    factored: tuple[_Floats, bool] = cho_factor(full[np.ix_(free, free)])
    return factored


def _squared(scores: Any) -> _Floats:
    """Return the sum over clusters of the outer product of their scores, which may be sparse."""
    product = scores.T @ scores
    return np.asarray(product.todense() if hasattr(product, "todense") else product, dtype=np.float64)


def _check_finite(names: Sequence[str], points: _Floats) -> None:
    """Refuse verdicts whose graph, an edge from every model that won something to its opponent, is not in one piece."""
    wins = csr_array(points > 0)
    winners, losers = np.nonzero(points > 0)
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
