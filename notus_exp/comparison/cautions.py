"""Why a contrast may err more often than its p and its interval say; nothing corrects for it, so it is said.

The shares are those of docs/results/calibration.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from notus_exp.contracts.comparison_file import ContrastRow
from notus_exp.inference.crossed import CrossedEstimate

ONE_SEED = (
    "With one seed, seed variance is not covered: the intervals hold for this training seed alone, and another seed may"
    " turn the result"
)
TWO_SEEDS = (
    "Two seeds say little about seed variance: among several contrasts, up to 12 % of studies call an arm different"
    " that is not, where 5 % are meant"
)
MANY_CONTRASTS = (
    "Three seeds are few for so many contrasts: up to 9 % of studies call an arm different that is not, where 5 % are"
    " meant"
)
MOST_CONTRASTS = 7
"""Contrasts up to which three seeds keep the family-wise error."""

MOST_SKEWED = 0.2
"""Skewness of a mean beyond which a t interval errs more often than it says: Cochran's rule n > 25 G1^2 (1977, Sampling
Techniques, section 2.15), which keeps the error of a normal interval below 6 %."""

_FIGURES = re.compile(r"[+-]?\d+(\.\d+)?")


def cautions(estimate: CrossedEstimate, family: int = 1) -> list[str]:
    """Return what speaks against the p and the interval of a contrast; empty where nothing does, or there is no p.

    Args:
        estimate: Of the difference.
        family: Contrasts of its family; 1 where it is exploratory.
    """
    if math.isnan(estimate.p):
        return []
    found = of_seeds(estimate.seeds, family)
    return [*found, _few(estimate)] if abs(estimate.skewness) > MOST_SKEWED else found


def of_seeds(seeds: int, family: int) -> list[str]:
    """Return what is to be said of so few seeds."""
    if seeds == 3 and family > MOST_CONTRASTS:
        return [MANY_CONTRASTS]
    return {1: [ONE_SEED], 2: [TWO_SEEDS]}.get(seeds, [])


def caution_words(rows: Sequence[ContrastRow]) -> list[str]:
    """Return the cautions of contrasts, each sentence once, after the arms that it is of where it is not of all."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for one in row["cautions"]:
            found.setdefault(one, []).append(row["arm"])
    return [one if len(arms) == len(rows) else f"{', '.join(arms)}: {one}" for one, arms in found.items()]


def counted_cautions(rows: Sequence[ContrastRow]) -> list[str]:
    """Return how many of many contrasts have each caution, with its sentence for the first of them.

    Sentences that differ in their figures alone count as one caution.
    """
    kinds: dict[str, list[tuple[ContrastRow, str]]] = {}
    for row in rows:
        for one in row["cautions"]:
            kinds.setdefault(_FIGURES.sub("", one), []).append((row, one))
    said = []
    for alike in kinds.values():
        row, one = alike[0]
        same = len({sentence for _, sentence in alike}) == 1
        such = "" if same else f", such as {row['arm']} against {row['reference']} in {row['metric']}"
        said.append(f"{len(alike)} of {len(rows)} exploratory contrasts{such}: {one}")
    return said


def _few(estimate: CrossedEstimate) -> str:
    return (
        f"A few of the {estimate.prompts} prompts carry this difference (skewness of its mean"
        f" {estimate.skewness:+.2f}): with so few, up to 16 % of such intervals miss the truth, where 5 % are meant;"
        " more prompts would tell"
    )
