"""Games of two models each, summed by pair: all that a Bradley-Terry likelihood needs, and what its errors need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from notus_exp.errors import UserError

_Floats = NDArray[np.float64]


class PairedGames(NamedTuple):
    """Games of M models by pairs.

    Attributes:
        names: Of the models, M of them.
        played: Shape (M, M), symmetric: games of each two; 0 on the diagonal.
        points: Shape (M, M): points of the row's model against the column's, 1 a win and 0.5 a tie.
        total: Games.
        ties: Games that are ties.
        clusters: Units that the games belong to, G; None where each game is its own.
        scores: Chances of the row's model to beat the column's, shape (M, M) -> for each cluster points less expected
            points of each model, shape (G, M), dense or sparse.
    """

    names: list[str]
    played: _Floats
    points: _Floats
    total: int
    ties: int
    clusters: int | None
    scores: Callable[[_Floats], Any]


def games_of_verdicts(
    first: Sequence[str], second: Sequence[str], score: Sequence[float], clusters: Sequence[Any] | None
) -> PairedGames:
    """Sum verdicts by pair; arguments and errors as of `bradley_terry.bradley_terry`.

    Raises:
        UserError: A verdict is no verdict.
    """
    points = np.asarray(score, dtype=np.float64)
    names = sorted({*first, *second})
    place = {name: number for number, name in enumerate(names)}
    one, other = (np.fromiter(map(place.__getitem__, side), np.intp, len(side)) for side in (first, second))
    _check(names, one, other, points)
    if clusters is not None and len(clusters) != points.size:
        raise ValueError(f"{len(clusters)} clusters for {points.size} verdicts")
    models = len(names)

    def by_pair(row: NDArray[np.intp], column: NDArray[np.intp], weights: _Floats) -> _Floats:
        summed = np.bincount(row * models + column, weights=weights, minlength=models**2)
        return summed.astype(np.float64).reshape(models, models)

    won = by_pair(one, other, points) + by_pair(other, one, 1 - points)
    played = by_pair(one, other, np.ones_like(points))
    units, unit = (None, None) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)

    def scores(chances: _Floats) -> Any:
        assert units is not None and unit is not None
        residual = points - chances[one, other]
        at = np.r_[unit, unit], np.r_[one, other]
        return coo_array((np.r_[residual, -residual], at), shape=(units.size, models)).tocsr()

    ties = int((points == 0.5).sum())
    count = None if units is None else int(units.size)
    return PairedGames(names, played + played.T, won, points.size, ties, count, scores)


def games_of_values(names: Sequence[str], values: _Floats) -> PairedGames:
    """Let every two models play on every prompt and seed that both have a value for; the higher value wins.

    The prompts are the clusters. A model and a prompt without any game are left out.

    Args:
        names: Of M models.
        values: Shape (M, seeds, prompts), NaN where missing.
    """
    there = ~np.isnan(values)
    playing = (there & (there.sum(axis=0) > 1)).any(axis=(1, 2))
    names, values = [name for name, plays in zip(names, playing, strict=True) if plays], values[playing]
    models, seeds, prompts = values.shape
    flat = values.reshape(models, seeds * prompts)
    there = ~np.isnan(flat)
    points, equal = np.zeros((models, models)), np.zeros((models, models))
    own = np.empty_like(flat)  # points of a model on a prompt under a seed, against all others together
    for place, row in enumerate(flat):
        above, same = row > flat, row == flat
        same[place] = False
        points[place] = above.sum(axis=1) + 0.5 * same.sum(axis=1)
        equal[place] = same.sum(axis=1)
        own[place] = above.sum(axis=0) + 0.5 * same.sum(axis=0)
    played = there.astype(np.float64) @ there.T
    np.fill_diagonal(played, 0)
    games_by_prompt = (there.sum(axis=0) > 1).reshape(seeds, prompts).any(axis=0)

    def scores(chances: _Floats) -> Any:
        against = chances - np.diag(np.diag(chances))
        residual = np.where(there, own - against @ there, 0.0)
        return residual.reshape(models, seeds, prompts).sum(axis=1).T[games_by_prompt]

    total, ties = int(played.sum()) // 2, int(equal.sum()) // 2
    return PairedGames(names, played, points, total, ties, int(games_by_prompt.sum()), scores)


def _check(names: Sequence[str], one: NDArray[np.intp], other: NDArray[np.intp], points: _Floats) -> None:
    alone = np.flatnonzero(one == other)
    if alone.size:
        row = int(alone[0])
        raise UserError(
            f"Bradley-Terry: verdict {row} is of '{names[one[row]]}' against itself", "leave such verdicts out"
        )
    off = np.flatnonzero(~((points >= 0) & (points <= 1)))
    if off.size:
        row = int(off[0])
        raise UserError(
            f"Bradley-Terry: the score of verdict {row} ('{names[one[row]]}' against '{names[other[row]]}') is"
            f" {points[row]}",
            "1: the first wins, 0: the second wins, 0.5: a tie; leave failed verdicts out and count them",
        )
