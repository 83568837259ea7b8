"""Contrasts: tables of differences become estimates, families of them verdicts, and both the rows of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from notus_exp.comparison.cautions import cautions
from notus_exp.comparison.reach import Reach
from notus_exp.comparison.words import contrast_words, verdict_of
from notus_exp.contracts.comparison_file import ContrastRow, EquivalenceRow, EstimateRow
from notus_exp.evaluation.kit.description import Metric, Span
from notus_exp.inference.crossed import (
    Array,
    Components,
    CrossedEstimate,
    crossed_mean,
    interval_at,
    within_margin,
)
from notus_exp.inference.multiplicity import Adjusted, adjust, step_confidences
from notus_exp.inference.paired import Equivalence, Interval
from notus_exp.inference.seeds import bootstrap_over_seeds, permutation_over_seeds


class Contrast(NamedTuple):
    """One model minus another in one metric.

    Attributes:
        metric: Which metric.
        arm: Whose values
        reference: minus whose.
        estimate: Of the difference, paired by prompt and seed.
        differing: Prompts with a value for every seed on which the two are not the same in all of them.
        uneven: Prompts that are left out although they have a value in one of the two and some seed.
        span: The least and the largest difference possible.
        reach: How far the difference of a prompt may go where there is no span.
        tests: Of equivalence, a margin each.
        bootstrap: 95 % interval over seeds alone, from 10 seeds on.
        permutation: p over seeds alone, from 6 seeds on.
    """

    metric: str
    arm: str
    reference: str
    estimate: CrossedEstimate
    differing: int
    uneven: int
    span: Span | None
    reach: Reach
    tests: list[Equivalence]
    bootstrap: Interval | None
    permutation: float | None


def contrast(
    difference: Array,
    metric: str,
    arm: str,
    reference: str,
    *,
    margins: Sequence[float] = (),
    span: Span | None = None,
    reach: Reach | None = None,
    uneven: int = 0,
) -> Contrast:
    """Estimate a contrast.

    Args:
        difference: Shape (K, n), seeds by prompts, NaN where a side is missing; K may be 0.
        metric: For the row.
        arm: For the row.
        reference: For the row.
        margins: Differences that would not matter, in the unit of the values.
        span: The least and the largest difference possible.
        reach: For cautions alone: how far the difference of a prompt may go where there is no span.
        uneven: For cautions alone: from `uneven_prompts`.
    """
    estimate = estimate_of(difference, span=span)
    differing = ~np.isnan(difference).any(axis=0) & (difference != 0).any(axis=0)
    return Contrast(
        metric,
        arm,
        reference,
        estimate,
        int(differing.sum()),
        uneven,
        span,
        reach or Reach(),
        [within_margin(estimate, margin) for margin in margins],
        bootstrap_over_seeds(difference),
        permutation_over_seeds(difference),
    )


def uneven_prompts(values: Array, others: Array) -> int:
    """Return how many prompts have a value in one of two tables, each of shape (K, n), and lack one in another cell."""
    missing = np.concatenate([np.isnan(values), np.isnan(others)])
    return int((missing.any(axis=0) & ~missing.all(axis=0)).sum())


def estimate_of(table: Array, *, span: Span | None = None) -> CrossedEstimate:
    """Return the crossed mean of a table of seeds by prompts; all NaN where there is no seed."""
    if table.shape[0] == 0:
        unknown = Components(*(math.nan,) * 3)
        return CrossedEstimate(*(math.nan,) * 6, 0, 0, table.shape[1], unknown, math.nan, math.nan)
    return crossed_mean(table, span=span)


def estimate_json(estimate: CrossedEstimate) -> EstimateRow:
    """Return what comparison.json says of a mean."""
    prompt, seed, residual = estimate.components
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "prompts": estimate.prompts,
        "seeds": estimate.seeds,
        "left_out": estimate.left_out,
        "components": {"prompt": prompt, "seed": seed, "residual": residual},
    }


def family_json(family: Sequence[Contrast], metric: Metric, *, planned: bool = True) -> list[ContrastRow]:
    """Return the rows of the contrasts of a family, corrected for being several.

    Args:
        family: In the order of the rows.
        metric: Of the values.
        planned: Whether they were asked for beforehand; else they are exploratory all the same.
    """
    ps = [found.estimate.p for found in family]
    counted = sum(not math.isnan(p) for p in ps)
    shown = max((found.estimate.furthest for found in family if found.estimate.prompts), default=math.nan)
    rows = zip(family, adjust(ps), step_confidences(ps), strict=True)
    made = [
        _row(found, metric, both, interval_at(found.estimate, confidence, span=found.span), counted, shown)
        for found, both, confidence in rows
    ]
    return made if planned else [_exploratory(row) for row in made]


def exploratory_json(found: Contrast, metric: Metric) -> ContrastRow:
    """Return the row of a contrast that nobody asked for beforehand."""
    return _exploratory(_row(found, metric, None, None, 1, found.estimate.furthest))


def _exploratory(row: ContrastRow) -> ContrastRow:
    return {**row, "primary": False, "words": f"{row['words']}; exploratory"}


def _row(
    found: Contrast, metric: Metric, adjusted: Adjusted | None, interval: Interval | None, family: int, shown: float
) -> ContrastRow:
    estimate = found.estimate
    words = contrast_words(estimate, found.tests, metric=metric, adjusted=adjusted, interval=interval, family=family)
    return {
        "metric": found.metric,
        "primary": True,
        "arm": found.arm,
        "reference": found.reference,
        **estimate_json(estimate),
        "standard_error": estimate.standard_error,
        "seed_share": estimate.seed_share,
        "differing": found.differing,
        "p": estimate.p,
        "holm": adjusted.holm if adjusted else None,
        "holm_low": interval.low if interval else None,
        "holm_high": interval.high if interval else None,
        "benjamini_hochberg": adjusted.benjamini_hochberg if adjusted else None,
        "verdict": verdict_of(estimate, adjusted),
        "equivalence": _equivalence_row(found.tests[0]) if found.tests else None,
        "bootstrap": {"low": found.bootstrap.low, "high": found.bootstrap.high} if found.bootstrap else None,
        "permutation": found.permutation,
        "cautions": cautions(
            estimate,
            family,
            span=found.span or found.reach.known,
            seen=found.reach.seen,
            shown=shown,
            uneven=found.uneven,
        ),
        "words": words,
    }


def _equivalence_row(test: Equivalence) -> EquivalenceRow:
    return {"margin": test.margin, "p": test.p, "equivalent": test.equivalent}
