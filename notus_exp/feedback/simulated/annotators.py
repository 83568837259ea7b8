"""Simulated annotators: ratings, an overall score and a critique, each a noisy view of the true qualities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from notus_exp.config.data_settings import SIMULATED_ASPECTS, Simulated
from notus_exp.feedback.simulated.draws import ANNOTATORS, generator

_RATINGS, _OVERALL, _RATING_MISSING, _OVERALL_MISSING, _INVERTED, _WORDING = range(6)
"""One stream for each noise, so that changing one setting moves nothing else."""

VERDICTS = {
    "strong": ("A strong answer", "This works well", "Very good overall"),
    "fair": ("A fair answer", "This is acceptable", "Mixed overall"),
    "poor": ("A poor answer", "This does not work", "Weak overall"),
}
WEAKNESSES = {
    "helpfulness": ("it hardly helps the reader", "it pads or leaves the topic"),
    "honesty": ("its tone does not fit what it knows", "it is surer or vaguer than it should be"),
    "instruction_following": ("it does not do all that was asked", "part of the request is ignored"),
    "truthfulness": ("not everything it says is true", "it gets facts wrong"),
}
REASONS = {
    "strong": ("it does what was asked", "nothing important is missing"),
    "fair": ("it could be better", "it is neither good nor bad"),
    "poor": ("it leaves a bad impression", "I would not want it"),
}
"""Said where no aspect is seen as weak."""
_NOTICED = 3.0
"""A rating of at most this much is a weakness that the critique may name."""


class Labels(NamedTuple):
    """What annotators wrote, for n prompts with k answers each; NaN where missing.

    Attributes:
        ratings: Shape (n, k, 4): whole numbers from 1 to 5 in the order of `SIMULATED_ASPECTS`.
        overall: Shape (n, k): whole numbers from 1 to 10.
        critiques: n * k texts, prompt by prompt.
    """

    ratings: np.ndarray
    overall: np.ndarray
    critiques: list[str]


def annotate(qualities: np.ndarray, spec: Simulated) -> Labels:
    """Label the answers.

    A rating is 1 + 4 q plus normal noise, rounded and clipped to 1..5; the overall score is 1 + 9 mean(q) plus normal
    noise, rounded and clipped to 1..10. Each may then be missing. A score of 1 is written as 10 at the rate of
    `inverted_score_rate`; the critique still says what the annotator saw. Every number depends on the seed and on the
    position of the answer alone, so that the labels of the first prompts stay when prompts are added.

    Args:
        qualities: True qualities in [0, 1], shape (n, k, 4), in the order of `SIMULATED_ASPECTS`.
        spec: The noise settings and the seed.
    """
    n, k, aspects = qualities.shape
    ratings = _rounded(
        1 + 4 * qualities + spec.rating_noise * _stream(_RATINGS, spec).standard_normal((n, k, aspects)), 5
    )
    seen = _rounded(
        1 + 9 * qualities.mean(axis=2) + spec.overall_noise * _stream(_OVERALL, spec).standard_normal((n, k)), 10
    )
    critiques = _critiques(ratings, seen, _stream(_WORDING, spec).random((n, k, 2)))
    inverted = (seen == 1) & (_stream(_INVERTED, spec).random((n, k)) < spec.inverted_score_rate)
    overall = np.where(inverted, 10.0, seen)
    overall[_stream(_OVERALL_MISSING, spec).random((n, k)) < spec.overall_missing_rate] = np.nan
    ratings[_stream(_RATING_MISSING, spec).random((n, k, aspects)) < spec.missing_rate] = np.nan
    return Labels(ratings, overall, critiques)


def _stream(part: int, spec: Simulated) -> np.random.Generator:
    return generator(ANNOTATORS, part, 0, spec.seed)


def _rounded(scores: np.ndarray, most: int) -> np.ndarray:
    """Round half up (NumPy's rint would round half to even) and clip to 1..most."""
    return np.clip(np.floor(scores + 0.5), 1, most)


def _critiques(ratings: np.ndarray, seen: np.ndarray, wording: np.ndarray) -> list[str]:
    """Return a verdict that fits the overall score as it was seen, and the weakest aspect where one stands out.

    Args:
        ratings: Shape (n, k, 4), before any goes missing.
        seen: Overall scores before any is inverted or goes missing, shape (n, k).
        wording: Uniform numbers that choose among wordings, shape (n, k, 2).
    """
    weakest = ratings.argmin(axis=2).ravel().tolist()
    noticed = (ratings.min(axis=2) <= _NOTICED).ravel().tolist()
    first, second = wording[..., 0].ravel().tolist(), wording[..., 1].ravel().tolist()
    texts = []
    for index, score in enumerate(seen.ravel().tolist()):
        verdict = "strong" if score >= 8 else "fair" if score >= 4 else "poor"
        remarks = WEAKNESSES[SIMULATED_ASPECTS[weakest[index]]] if noticed[index] else REASONS[verdict]
        link = ", although" if verdict == "strong" and noticed[index] else ":"
        texts.append(f"{VERDICTS[verdict][int(first[index] * 3)]}{link} {remarks[int(second[index] * 2)]}.")
    return texts
