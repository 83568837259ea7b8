"""Why a contrast may err more often than its p and its interval say; nothing corrects for it, so it is said."""

from __future__ import annotations

from notus_exp.inference.crossed import CrossedEstimate

ONE_SEED = "one seed does not cover seed variance"
TWO_SEEDS = "two seeds hardly tell seed variance: up to 9 % of such findings are false, not 5 %"
MOST_SKEWED = 0.2
"""Skewness of a mean beyond which a t interval errs more often than it says: Cochran's rule n > 25 G1^2 (1977, Sampling
Techniques, section 2.15), which keeps the error of a normal interval below 6 %."""


def cautions(estimate: CrossedEstimate) -> list[str]:
    """Return what speaks against trusting the p and the interval of a contrast; empty where nothing does."""
    if not estimate.p == estimate.p:
        return []
    found = {1: [ONE_SEED], 2: [TWO_SEEDS]}.get(estimate.seeds, [])
    if abs(estimate.skewness) > MOST_SKEWED:
        found = [*found, _few(estimate)]
    return found


def _few(estimate: CrossedEstimate) -> str:
    return (
        f"a few of the {estimate.prompts} prompts carry it (skewness of the mean {estimate.skewness:+.2f}): on so few"
        " such intervals may miss the truth in 16 % of studies, not 5 %"
    )
