"""Completions of a prompt compared two by two by a labelling, and how far labellings agree within prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.inference.alpha import interval_alpha

TIE = 0.5


class CompletionPairs(NamedTuple):
    """Every two completions of a prompt, n of them, by their places in a table.

    Attributes:
        group: Number of the prompt, shape (n,).
        one: Place of the first, shape (n,).
        other: Place of the second, after it, shape (n,).
    """

    group: NDArray[np.int64]
    one: NDArray[np.int64]
    other: NDArray[np.int64]


def groups_of(completions: pl.DataFrame) -> NDArray[np.int64]:
    """Return the number of each completion's prompt, shape (completions,): rows of one prompt are told apart."""
    return completions.select(pl.struct("prompt_id", "row").rank("dense")).to_series().cast(pl.Int64).to_numpy()


def pairs_of_completions(groups: NDArray[np.int64]) -> CompletionPairs:
    """Return every two completions with the same group, in the order of the table."""
    places = pl.DataFrame({"group": groups, "place": np.arange(len(groups), dtype=np.int64)})
    both = places.join(places, on="group", suffix="_other").filter(pl.col("place") < pl.col("place_other"))
    both = both.sort("place", "place_other")
    return CompletionPairs(*(both[name].to_numpy() for name in ("group", "place", "place_other")))


def outcomes(pairs: CompletionPairs, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the second of each pair wins by a labelling: 1, `TIE` or 0; NaN where a value is missing.

    Args:
        pairs: Shape (n,).
        values: Of each completion, NaN where missing.
    """
    difference = values[pairs.other] - values[pairs.one]
    return np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)


def rank_alpha(pairs: CompletionPairs, one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, int]:
    """Return Krippendorff's alpha, interval metric, of the ranks that two labellings give within prompts.

    Ranks (ties share theirs) of the completions that both have a value of, among those of their prompt, counted from
    the prompt's mean rank: labellings on different scales become comparable, and what a prompt's completions have in
    common counts as no agreement.

    Args:
        pairs: All pairs of the completions of a prompt, n of them.
        one: FormulaValues of each completion, NaN where missing.
        other: Likewise.

    Returns:
        Alpha, NaN where it is not defined; and the prompts with two such completions or more.
    """
    ranks, groups = ranks_in_common(pairs, [one, other])
    return interval_alpha(ranks), len(np.unique(groups))


def ranks_in_common(
    pairs: CompletionPairs, labellings: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the ranks of `rank_alpha` of several labellings, of the completions that all of them have a value of.

    Args:
        pairs: All pairs of the completions of a prompt, n of them.
        labellings: Of each the value of every completion, NaN where missing.

    Returns:
        The ranks less their prompt's mean rank, shape (labellings, u), of the u completions of prompts that have two
        or more such completions; and the number of each one's prompt, shape (u,).
    """
    common: NDArray[np.bool_] = np.logical_not(np.isnan(np.stack(labellings)).any(axis=0))
    known = common[pairs.one] & common[pairs.other]
    first, second, groups = pairs.one[known], pairs.other[known], pairs.group[known]
    whose = np.full(len(common), -1, dtype=np.int64)
    whose[first], whose[second] = groups, groups
    compared = whose >= 0
    ranks = np.stack([_ranks(first, second, values) for values in labellings])
    return ranks[:, compared], whose[compared]


def _ranks(one: NDArray[np.int64], other: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each completion's rank less its prompt's mean rank: half of what it wins less what it loses."""
    won = np.sign(values[other] - values[one]) / 2
    return np.asarray(np.bincount(other, won, len(values)) - np.bincount(one, won, len(values)), dtype=np.float64)
