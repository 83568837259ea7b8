"""Why a contrast may err more often than its p and its interval say; nothing corrects for it, so it is said.

The shares are those of docs/results/calibration.md. They are of simulated worlds, not bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from notus_exp.contracts.comparison_file import ContrastRow
from notus_exp.evaluation.kit.description import Span
from notus_exp.inference.crossed import CrossedEstimate
from notus_exp.inference.estimates import CONFIDENCE

ONE_SEED = (
    "With one seed, seed variance is not covered: the intervals hold for this training seed alone, and another seed may"
    " turn the result"
)
TWO_SEEDS = "Two seeds say little about seed variance: all that is known of it is the distance of two values"
TWO_SEEDS_OF_MANY = (
    "Two seeds say little about seed variance: among several contrasts, more studies than the 5 % that are meant call"
    " an arm different that is not (up to 12 % in simulations with seven contrasts)"
)
MANY_CONTRASTS = (
    "Three seeds are few for so many contrasts: more studies than the 5 % that are meant call an arm different that is"
    " not (up to 9 % in simulations with 19 contrasts)"
)
MOST_CONTRASTS = 7
"""Contrasts up to which three seeds keep the family-wise error."""

MOST_SKEWED = 0.2
"""Skewness of a mean beyond which a t interval errs more often than it says: Cochran's rule n > 25 G1^2 (1977, Sampling
Techniques, section 2.15), which keeps the error of a normal interval below 6 %."""
UNSEEN = 0.05
"""Chance of a sample that holds none of the prompts that would turn the result, from which on it is said."""

MOST_TIMES = 13
"""How many times as far as anything that was seen a rare difference is thought to go where no scale bounds a metric:
the least that leaves no more than 6.5 % unwarned in the simulated worlds of rare losses."""
LACKING = "prompts lack a value in one of the two models or seeds"
"""What the caution on prompts that were left out has in it, whatever its figures."""
MOST_LACKING = 0.05
"""Share of prompts without a value in either model from which on that is said too; a tie under a labelling has none."""
LEAST_PROMPTS = 10
"""Prompts below which nothing is said of those that were not drawn but that these are too few."""
TOO_FEW = f"Fewer than {LEAST_PROMPTS} prompts tell nothing of others: p and interval hold if others are like these few"

_FIGURES = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]\d+)?")


def cautions(
    estimate: CrossedEstimate,
    family: int = 1,
    *,
    span: Span | None = None,
    seen: Span | None = None,
    shown: float | None = None,
    uneven: int = 0,
) -> list[str]:
    """Return what speaks against the p and the interval of a contrast; empty where nothing does.

    Without a p there is only what is to be said of prompts that were left out.

    Args:
        estimate: Of the difference.
        family: Contrasts of its family; 1 where it is exploratory.
        span: The least and the largest difference possible, where there are such.
        seen: Of a metric without such ends: as far apart as the values of prompts lie, below and above 0.
        shown: The largest difference of a prompt that the family shows; None: that of the estimate.
        uneven: Of the prompts left out those that have a value in some model and seed.
    """
    lacking = _of_lacking(estimate, uneven)
    if math.isnan(estimate.p):
        return lacking
    found, clear = [*lacking, *of_seeds(estimate.seeds, family)], estimate.p < 1 - CONFIDENCE
    skewed = abs(estimate.skewness) > MOST_SKEWED
    if estimate.prompts < LEAST_PROMPTS:
        return [*found, TOO_FEW] if clear or skewed else found
    if skewed:
        found.append(_few(estimate))
    if clear:
        found += _of_unseen(estimate, span, seen, shown or estimate.furthest)
    return found


def unseen_would_turn(value: Any, worst: Any, prompts: int) -> Any:
    """Return whether prompts too rare to be drawn could bring a mean to 0 or beyond.

    As rare as a sample misses with the chance `UNSEEN`, (1 - share)^n = `UNSEEN`: about 3 in n (the rule of three,
    Hanley and Lippman-Hand 1983, JAMA 249(13)).

    Args:
        value: The mean of those drawn.
        worst: How far such a prompt lies on the other side of 0, at least 0; broadcasts with the value.
        prompts: Drawn.
    """
    share = _rare(prompts)
    return (1 - share) * abs(value) <= share * worst


def _rare(prompts: int) -> float:
    return float(1 - UNSEEN ** (1 / prompts))


def of_seeds(seeds: int, family: int) -> list[str]:
    """Return what is to be said of so few seeds."""
    if seeds == 3 and family > MOST_CONTRASTS:
        return [MANY_CONTRASTS]
    return {1: [ONE_SEED], 2: [TWO_SEEDS_OF_MANY if family > 1 else TWO_SEEDS]}.get(seeds, [])


def caution_words(rows: Sequence[ContrastRow]) -> list[str]:
    """Return the cautions of contrasts, each sentence once, after the arms that it is of where it is not of all."""
    found = arms_by_caution(rows)
    return [one if len(arms) == len(rows) else f"{', '.join(arms)}: {one}" for one, arms in found.items()]


def arms_by_caution(rows: Sequence[ContrastRow]) -> dict[str, list[str]]:
    """Return each caution of contrasts with the arms that it is of."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for one in row["cautions"]:
            found.setdefault(one, []).append(row["arm"])
    return found


def counted_cautions(rows: Sequence[ContrastRow], contrasts: str = "exploratory contrasts") -> list[str]:
    """Return how many of many contrasts have each caution, with its sentence for the first of them.

    Sentences that differ in their figures alone count as one caution.

    Args:
        rows: The contrasts.
        contrasts: What they are called.
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
        said.append(f"{len(alike)} of {len(rows)} {contrasts}{such}: {one}")
    return said


def _of_lacking(estimate: CrossedEstimate, uneven: int) -> list[str]:
    """Say how many prompts were left out, where that can be selective: uneven between the models, or many."""
    count, known = estimate.left_out, estimate.prompts + estimate.left_out
    if not estimate.prompts or (not uneven and count <= MOST_LACKING * known):
        return []
    return [
        f"{count} of {known} {LACKING} and are left out: where that is no accident (answers that failed, verdicts that"
        f" could not be read), the other {estimate.prompts} are a selection, and the result may be of that selection"
    ]


def _few(estimate: CrossedEstimate) -> str:
    return (
        f"A few of the {estimate.prompts} prompts carry this difference (skewness of its mean"
        f" {estimate.skewness:+.2f}): with so few, such intervals may miss the truth much more often than the 5 % that"
        " are meant; more prompts would tell"
    )


def _of_unseen(estimate: CrossedEstimate, span: Span | None, seen: Span | None, shown: float) -> list[str]:
    if span:
        worst, why = _against(estimate.value, span), "as far as the metric goes"
    else:
        apart = _against(estimate.value, seen) if seen else 0.0
        worst, why = max((shown, "the most that was seen"), (apart, "as far apart as values of this metric lie"))
    if unseen_would_turn(estimate.value, worst, estimate.prompts):
        return [_unseen(estimate, worst, why)]
    if seen and not span and unseen_would_turn(estimate.value, MOST_TIMES * shown, estimate.prompts):
        return [_unbounded(estimate, shown)]
    return []


def _against(value: float, span: Span) -> float:
    """Return how far a prompt may lie on the other side of 0."""
    return max(-span[0] if value > 0 else span[1], 0.0)


def _unbounded(estimate: CrossedEstimate, shown: float) -> str:
    share = _rare(estimate.prompts)
    turning = (1 - share) / share * abs(estimate.value)
    return (
        f"No scale bounds this metric: one prompt in {1 / share:.0f} that lay {turning:.3g} on the other side of zero,"
        f" {turning / shown:.1f} times as far as any difference that was seen, would undo this, and {100 * UNSEEN:g} %"
        f" of samples of {estimate.prompts} prompts would show none of them"
    )


def _unseen(estimate: CrossedEstimate, worst: float, why: str) -> str:
    return (
        f"Rare large differences could turn this: if one prompt in {1 / _rare(estimate.prompts):.0f} lay {worst:.3g} on"
        f" the other side of zero ({why}), {100 * UNSEEN:g} % of samples of {estimate.prompts} prompts would show"
        " none of them, and the true mean would not lie on this side; more prompts would tell"
    )
