"""How far two models may lie apart on one prompt."""

import numpy as np
import pytest

from notus_exp.comparison.reach import Reach, reach_of
from notus_exp.evaluation.kit.description import Metric
from notus_exp.evaluation.metrics import metric_of

NAN = float("nan")
ONE = [[2.0, 3.0, NAN], [4.0, 5.0, 9.0]]  # means by prompt: 3, 4 and none
TWO = [[-1.0, 0.5, 7.0]]


def reach(metric, *tables, **more):
    return reach_of(metric, [np.array(table) for table in tables], **more)


def test_without_a_scale_values_of_complete_prompts_tell_how_far_apart_models_may_lie():
    assert reach(Metric("kl"), ONE, TWO) == Reach(seen=(-8.0, 8.0))


def test_a_constant_is_not_further_away_than_the_values():
    assert reach(Metric("margin"), ONE, TWO, against=0.5) == Reach(seen=(-1.5, 6.5))


def test_a_rating_off_the_scale_widens_it():
    rating = metric_of("mt_bench/score")
    assert rating.span is None  # nothing is cut to it
    assert reach(rating, ONE) == Reach(known=(-9.0, 9.0))
    assert reach(rating, [[4.0, 11.0]], [[0.0, 5.0]]) == Reach(known=(-11.0, 11.0))


def test_the_most_instructions_of_a_prompt_bound_counts_of_them():
    assert reach(metric_of("ifeval/inst_strict"), [[0.5, 1.0]], most=1.5) == Reach(known=(-1.5, 1.5))


@pytest.mark.parametrize(("values", "whole"), [([0, 1, 1], 1.0), ([0, 100, 50], 100.0)])
def test_verdicts_of_yes_and_no_have_a_scale_under_any_name(values, whole):
    assert reach(Metric(""), [values], [[0.0, NAN, whole]]) == Reach(known=(-whole, whole))


def test_other_values_are_no_verdicts():
    assert reach(Metric(""), [[0, 1, 0.3]]).known is None
    assert reach(Metric(""), [[1, 2, 2]]).known is None


def test_nothing_that_was_measured_tells_nothing():
    assert reach(Metric(""), np.empty((0, 3)), [[NAN, NAN]]) == Reach()
