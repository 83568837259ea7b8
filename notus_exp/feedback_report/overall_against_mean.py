"""The overall score of a critique against the mean of the same completion's ratings, and where they part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from notus_exp.annotation.leanings import leaning
from notus_exp.config.curation_settings import Ambiguous, Repair
from notus_exp.contracts.annotator_file import Leaning
from notus_exp.curation.comparisons import TIE, outcomes
from notus_exp.curation.repair import repair_scores
from notus_exp.curation.scores import AVERAGE, CRITIQUE
from notus_exp.feedback_report.feedback_tables import FeedbackTables, RaterValues
from notus_exp.inference.estimates import mean_estimate

FAR = 0.5
"""Of its scale, by so much or more an overall score is far above the mean of its ratings."""
_OVERALL, _RATINGS = (1.0, 10.0), (1.0, 5.0)
"""The scales that are taken for granted where all values lie on them."""
_MOST_ROWS = 10


class ScoreRow(NamedTuple):
    """The completions with an overall score: its words, how many, and the mean of their ratings."""

    score: str
    completions: int
    ratings: Leaning


class AgainstMean(NamedTuple):
    """Overall scores against mean ratings.

    Attributes:
        both: Completions that have both.
        rows: By overall score, ascending.
        same: Share of the comparisons that both decide in which both name the same completion.
        far: Completions whose overall score is far above the mean of their ratings.
        far_share: Their share of `both`, with an interval over prompts.
        scales: Ends of the scale of overall scores, and of ratings.
        tens: What becomes of scores of 10 by the thresholds of `repair`: contradicted, ambiguous, supported.
    """

    both: int
    rows: list[ScoreRow]
    same: Leaning
    far: int
    far_share: Leaning
    scales: tuple[tuple[float, float], tuple[float, float]]
    tens: dict[str, int]


def against_mean(tables: FeedbackTables, low_mean: float, high_mean: float) -> AgainstMean | None:
    """Return how overall scores go with mean ratings; None where no completion has both."""
    overall, mean = tables.labellings.get(CRITIQUE), tables.labellings.get(AVERAGE)
    if overall is None or mean is None:
        return None
    known = ~np.isnan(overall) & ~np.isnan(mean)
    if not known.any():
        return None
    scales = _scale(overall[known], _OVERALL), _scale(mean[known], _RATINGS)
    above = _share_of(overall[known], scales[0]) - _share_of(mean[known], scales[1]) >= FAR
    clusters = tables.groups[known].tolist()
    return AgainstMean(
        int(known.sum()),
        _rows(overall[known], mean[known], tables.groups[known]),
        _same(tables, overall, mean),
        int(above.sum()),
        leaning(mean_estimate(above.astype(np.float64), clusters=clusters, span=(0.0, 1.0))),
        scales,
        _tens(tables, low_mean, high_mean),
    )


def _rows(overall: RaterValues, mean: RaterValues, groups: np.ndarray) -> list[ScoreRow]:
    different = np.unique(overall)
    if len(different) <= _MOST_ROWS:
        parts = [(f"{score:.4g}", overall == score) for score in different]
    else:
        ends = np.linspace(different[0], different[-1], _MOST_ROWS + 1)
        place = np.clip(np.searchsorted(ends, overall, side="left") - 1, 0, _MOST_ROWS - 1)
        parts = [(f"{ends[one]:.3g} to {ends[one + 1]:.3g}", place == one) for one in range(_MOST_ROWS)]
    return [
        ScoreRow(words, int(own.sum()), leaning(mean_estimate(mean[own], clusters=groups[own].tolist())))
        for words, own in parts
        if own.any()
    ]


def _same(tables: FeedbackTables, overall: RaterValues, mean: RaterValues) -> Leaning:
    pairs = tables.compared
    one, other = outcomes(pairs, overall), outcomes(pairs, mean)
    decided = (one != TIE) & (other != TIE) & ~np.isnan(one) & ~np.isnan(other)
    same = (one == other)[decided].astype(np.float64)
    return leaning(mean_estimate(same, clusters=pairs.group[decided].tolist(), span=(0.0, 1.0)))


def _scale(values: RaterValues, usual: tuple[float, float]) -> tuple[float, float]:
    """Return the usual scale where all values lie on it, else the least and the largest value."""
    low, high = float(values.min()), float(values.max())
    return usual if usual[0] <= low and high <= usual[1] else (low, high)


def _share_of(values: RaterValues, scale: tuple[float, float]) -> RaterValues:
    """Return where values lie on a scale, from 0 to 1."""
    low, high = scale
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _tens(tables: FeedbackTables, low_mean: float, high_mean: float) -> dict[str, int]:
    found = repair_scores(
        tables.completions, tables.aspects, Repair("drop", low_mean, high_mean, Ambiguous.keep)
    ).counts
    return {"contradicted": found["removed"], "ambiguous": found["ambiguous"], "supported": found["kept"]}
