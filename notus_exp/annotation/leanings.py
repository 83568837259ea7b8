"""Where an annotator leans: to the answer shown first, to the longer one, to what its own model wrote.

Shares are over comparisons of two completions of a prompt, their intervals over prompts (Liang and Zeger 1986, see
`inference.estimates.mean_estimate`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.contracts.annotator_file import Leaning, SelfPreference
from notus_exp.curation.comparisons import TIE, CompletionPairs, outcomes
from notus_exp.inference.estimates import Estimate, mean_estimate, paired_difference
from notus_exp.judging.verdicts import MODEL_FIRST

GOLD, LATENT, AVERAGE = "gold", "latent_quality", "average"
"""Labellings that a preference for one's own is compared with; the second is that of simulated data."""
_SHARE = (0.0, 1.0)
DRAW = 1.5


def first_preferred(orders: list[str], values: list[float | None], prompts: list[int]) -> Leaning:
    """Return how often the answer shown first wins, of the verdicts with a winner.

    Args:
        orders: `REFERENCE_FIRST` or `MODEL_FIRST` of each verdict, n of them.
        values: In [1, 2], 2 = the model's answer wins; None where the verdict failed.
        prompts: Number of each one's prompt.
    """
    wins = [
        math.nan if value is None or value == DRAW else float((value > DRAW) == (order == MODEL_FIRST))
        for order, value in zip(orders, values, strict=True)
    ]
    return leaning(mean_estimate(wins, clusters=prompts, span=_SHARE))


def longer_preferred(pairs: CompletionPairs, won: NDArray[np.float64], lengths: NDArray[np.int64]) -> Leaning:
    """Return how often the longer of two completions wins, of the decided comparisons of two that differ in length.

    Args:
        pairs: Which completions were compared, n of them.
        won: 1 where the other one won, 0 where the first did, `TIE`, NaN where nothing is known; shape (n,).
        lengths: Of each completion, in characters.
    """
    longer = np.sign(lengths[pairs.other] - lengths[pairs.one])
    counts = (longer != 0) & (won != TIE) & ~np.isnan(won)
    wins = np.where(longer > 0, won, 1 - won)[counts]
    return leaning(mean_estimate(wins, clusters=pairs.group[counts].tolist(), span=_SHARE))


def earlier_preferred(pairs: CompletionPairs, won: NDArray[np.float64], places: NDArray[np.int64]) -> Leaning:
    """Return how often the one shown earlier wins, of the decided comparisons of two completions shown together.

    Args:
        pairs: Which completions are compared, n of them.
        won: As of `longer_preferred`.
        places: Of each completion, its place among those shown.
    """
    return longer_preferred(pairs, won, -places)


def self_preference(
    pairs: CompletionPairs, won: NDArray[np.float64], completions: pl.DataFrame, model: str
) -> SelfPreference | None:
    """Return how completions that the annotator's model wrote fare with it; None where it wrote none that is compared.

    Args:
        pairs: Which completions were compared, n of them.
        won: As of `longer_preferred`.
        completions: Their models, and what a labelling beside the annotator's is made of.
        model: The annotator's.
    """
    own = _is_model(completions["model"].to_list(), model)
    mixed = own[pairs.one] != own[pairs.other]
    if not model or not mixed.any():
        return None
    beside, values = _labelling(completions)
    clusters, own_is_other = pairs.group[mixed].tolist(), own[pairs.other][mixed]
    here = np.where(own_is_other, won[mixed], 1 - won[mixed])
    there = outcomes(pairs, values)[mixed]
    there = np.where(own_is_other, there, 1 - there)
    return {
        "model": model,
        "won": leaning(mean_estimate(here, clusters=clusters, span=_SHARE)),
        "beside": beside,
        "excess": leaning(paired_difference(here, there, clusters=clusters, span=(-1.0, 1.0))),
    }


def contradicting(first: NDArray[np.float64], second: NDArray[np.float64], groups: NDArray[np.int64]) -> Leaning:
    """Return how often the two orders of a comparison name different winners, of those with two verdicts.

    Args:
        first: Verdict in one order, in [1, 2], NaN where it failed; shape (n,).
        second: In the other order, likewise.
        groups: Number of each one's prompt.
    """
    known = ~np.isnan(first) & ~np.isnan(second)
    different = ((first - DRAW) * (second - DRAW) < 0)[known].astype(np.float64)
    return leaning(mean_estimate(different, clusters=groups[known].tolist(), span=_SHARE))


def leaning(estimate: Estimate) -> Leaning:
    """Return an estimate with None for what is not known, and six decimals."""
    value, low, high = (None if math.isnan(one) else round(one, 6) for one in estimate[:3])
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def _is_model(models: list[str], model: str) -> NDArray[np.bool_]:
    """Say of each name whether it is the model's, however its letters are cased, with its owner in front or without."""
    wanted = _plain(model)
    return np.array([bool(name) and _plain(name) == wanted for name in models], dtype=np.bool_)


def _plain(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()


def _labelling(completions: pl.DataFrame) -> tuple[str, NDArray[np.float64]]:
    """Return the labelling beside the annotator's: the truth where it is known, else the mean of the ratings."""
    for column in (f"rating_{GOLD}", LATENT):
        if column in completions.columns:
            return GOLD, _numbers(completions[column])
    ratings = [name for name in completions.columns if name.startswith("rating_")]
    mean: Any = pl.mean_horizontal(ratings) if ratings else pl.lit(None, pl.Float64)
    return AVERAGE, _numbers(completions.select(pl.repeat(None, pl.len()) if not ratings else mean).to_series())


def _numbers(values: pl.Series) -> NDArray[np.float64]:
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy()
