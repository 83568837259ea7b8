"""What a mean of a metric can be at least and at most, to which its interval over few seeds is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from notus_exp.comparison.contrasts import estimate_of
from notus_exp.evaluation.metrics import metric_of
from notus_exp.inference.estimates import mean_estimate


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [
        ("verifiable/kl", (0.0, math.inf)),
        ("verifiable/tokens", (0.0, math.inf)),
        ("verifiable/strict", (0.0, 1.0)),
        ("preferences/margin/average", None),
    ],
)
def test_a_metric_is_bounded_where_its_nature_bounds_it(metric: str, bounds: tuple[float, float] | None) -> None:
    assert metric_of(metric).bounds == bounds


def test_an_interval_of_a_divergence_does_not_go_below_zero() -> None:
    few = np.array([[0.1, 0.2, 0.3, 0.1], [1.5, 1.7, 1.4, 1.6]])  # two seeds, four prompts
    assert estimate_of(few).low < 0
    found = estimate_of(few, span=metric_of("verifiable/kl").bounds)
    assert (found.low, found.high) == (0.0, estimate_of(few).high)


def test_values_that_are_all_alike_have_no_interval_where_one_end_is_open() -> None:
    alike = mean_estimate([0.5, 0.5, 0.5], span=(0.0, math.inf))
    assert math.isnan(alike.low) and math.isnan(alike.high)
