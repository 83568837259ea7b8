import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from notus_exp.inference.crossed import (
    MeanSquares,
    contrast,
    crossed_interval,
    crossed_mean,
    interval_at,
    mean_squares,
    within_margin,
)
from notus_exp.inference.estimates import mean_estimate
from support.places import REPLAY

replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")

# Seeds 1, 2, 3 (rows) by four prompts. Prompt means 2, 4, 6, 8; seed means 4, 5, 6; grand mean 5.
# MS_prompt = 3 (9 + 1 + 1 + 9) / 3 = 20; MS_seed = 4 (1 + 0 + 1) / 2 = 4; what is left over, squared: 6 x 1, over 6: 1
TABLE = np.array([[1.0, 3, 5, 7], [2, 4, 6, 8], [3, 5, 7, 9]]) + np.array(
    [[1.0, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0]]
) * math.sqrt(1.5)
tables = st.tuples(st.integers(1, 5), st.integers(3, 8), st.integers(0, 10_000)).map(
    lambda sizes: np.random.default_rng(sizes[2]).normal(size=sizes[:2])
)


def _points(model):
    """A model's AlpacaEval 1 scores as a table of one seed; 0 is a draw, empty a failed verdict."""
    column = pl.read_csv(REPLAY / "alpaca_eval/preferences_core.csv")[model].cast(pl.Float64)
    return column.replace(0.0, 1.5).to_numpy()[None, :] * 100 - 100


def test_mean_squares_of_a_table_by_hand():
    assert mean_squares(TABLE) == pytest.approx((20, 4, 1))


def test_components_are_what_the_mean_squares_expect():
    # (20 - 1) / 3, (4 - 1) / 4, 1
    assert crossed_mean(TABLE).components == pytest.approx((19 / 3, 3 / 4, 1))


def test_interval_by_hand():
    # (19 + 4) / 12; the seeds' share 4 / 23, squared 0.030246, times 1.969754 0.059577; t 3.182446, 4.302653:
    # 0.940423 x 10.127963 + 0.059577 x 18.512823 = 10.627505 = 3.259985^2
    found = crossed_mean(TABLE)
    error = math.sqrt(23 / 12)
    assert (found.value, found.standard_error, found.seed_share) == pytest.approx((5, error, 4 / 23))
    assert (found.low, found.high) == pytest.approx((5 - 3.259985 * error, 5 + 3.259985 * error), abs=1e-5)
    assert (found.prompts, found.seeds, found.left_out) == (4, 3, 0)


@given(tables, st.floats(1e-6, 1))
def test_the_interval_at_the_level_of_p_ends_at_zero(table, scale):
    found = crossed_mean(table + scale)
    edge = interval_at(found, 1 - found.p)
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-6 * found.standard_error)
    assert interval_at(found, 0.95) == pytest.approx((found.low, found.high))


def test_the_interval_at_another_level_is_cut_to_the_span():
    found = crossed_mean(TABLE, span=(4.5, 6))
    assert interval_at(found, 0.99, span=(4.5, 6)) == (4.5, 6)
    assert all(math.isnan(end) for end in interval_at(crossed_mean(np.full((3, 9), 1.0), span=(0, 1)), 0.99))


def test_two_one_sided_tests_are_the_intervals_of_twice_their_level():
    # equivalent within a margin at 5 % exactly where the 90 % interval lies within it
    values = np.random.default_rng(3).normal(size=(4, 30))
    found = crossed_mean(values)
    reach = max(map(abs, interval_at(found, 0.9)))
    assert within_margin(found, reach).p == pytest.approx(0.05)
    assert [within_margin(found, factor * reach).equivalent for factor in (0.99, 1.01)] == [False, True]
    assert within_margin(found, abs(found.value) / 2).p > 0.5


def test_prompts_that_all_lie_on_one_side_but_a_few_skew_the_mean():
    # 18 values of 0 and 2 of 1, alike in all seeds but one value: third moment 0.1 x 0.9^3 - 0.9 x 0.1^3 = 0.072, and
    # the variance of a prompt 0.09 x 20 / 19, so 0.072 / 20^2 / (0.09 / 19)^1.5
    row = np.repeat([0.0, 1.0], [18, 2])
    assert crossed_mean(row[None]).skewness == pytest.approx(0.072 / 400 / (0.09 / 19) ** 1.5)
    assert crossed_mean(-row[None]).skewness == pytest.approx(-0.072 / 400 / (0.09 / 19) ** 1.5)
    assert crossed_mean(np.repeat([[0.1], [0.4]], 9, axis=1)).skewness == 0


def test_a_prompt_share_below_zero_is_zero_and_leaves_the_seeds_mean_square():
    found = crossed_interval(0.0, MeanSquares(1.0, 6.0, 2.0), prompts=10, seeds=3)
    assert (found.standard_error, found.seed_share) == pytest.approx((math.sqrt(6 / 30), 1))


def test_a_component_below_zero_is_reported_as_zero():
    rows = np.array([[0.0, 1, 0, 1], [1, 0, 1, 0]])  # prompts and seeds all average to one half
    assert crossed_mean(rows).components[:2] == (0, 0)


def test_seed_means_that_agree_exactly_do_not_claim_that_seeds_agree():
    # every seed averages to 0, every prompt as well: all is residual, (1 + 1 + 1 + 1) / (1 x 3)
    found = crossed_mean(np.array([[1.0, -1, 0, 0], [-1, 1, 0, 0]]))
    assert (found.standard_error, found.seed_share) == pytest.approx((math.sqrt(4 / 3 / 8), 1))


def test_seeds_that_answer_alike_count_as_one():
    row = np.array([0.3, 0.1, 0.8, 0.5, 0.1])
    found, wanted = crossed_mean(np.stack([row] * 3)), mean_estimate(row)
    assert (found.low, found.high) == pytest.approx(wanted[1:3])
    assert found.seed_share == pytest.approx(0, abs=1e-20)


def test_a_prompt_that_lacks_a_seed_is_left_out_of_all_and_counted():
    holed = np.insert(TABLE, 2, [1.0, math.nan, 3.0], axis=1)
    assert crossed_mean(holed) == crossed_mean(TABLE)._replace(left_out=1)


def test_nothing_complete_is_nan_with_no_prompts():
    found = crossed_mean(np.array([[1.0, math.nan], [math.nan, 1.0]]))
    assert (found.prompts, found.seeds, found.left_out) == (0, 2, 2)
    assert all(math.isnan(number) for number in (*found[:6], *found.components))


def test_one_prompt_has_a_value_but_no_interval():
    found = crossed_mean(np.array([[1.0], [2.0]]), span=(0, 2))
    assert found.value == 1.5
    assert all(math.isnan(number) for number in found[1:6])


def test_values_all_alike_claim_no_certainty():
    found = crossed_mean(np.full((3, 10), 0.5))
    assert found.value == 0.5
    assert all(math.isnan(number) for number in found[1:6])
    bounded = crossed_mean(np.full((3, 60), 1.0), span=(0, 1))
    assert (bounded.low, bounded.high) == pytest.approx((1 - 0.04871, 1), abs=1e-4)  # the rule of three, 60 prompts
    assert math.isnan(bounded.p)


def test_the_interval_is_cut_to_the_span():
    found = crossed_mean(TABLE, span=(4.5, 6))
    assert (found.low, found.high) == (4.5, 6)


def test_unknown_components_of_one_seed_are_nan():
    found = crossed_mean(TABLE[:1])
    assert found.components.prompt == pytest.approx(np.var(TABLE[0], ddof=1))
    assert math.isnan(found.components.seed)
    assert math.isnan(found.components.residual)


@given(tables)
def test_one_seed_equals_the_mean_over_prompts(table):
    found = crossed_mean(table[:1], span=(-1, 1))
    assert found[:3] == pytest.approx(mean_estimate(table[0], span=(-1, 1))[:3])
    assert found.p == pytest.approx(stats.ttest_1samp(table[0], 0).pvalue, rel=1e-6)


@given(tables, st.floats(-50, 50))
def test_a_shift_moves_value_and_ends_and_nothing_else(table, shift):
    one, other = crossed_mean(table), crossed_mean(table + shift)
    assert other[:3] == pytest.approx([number + shift for number in one[:3]], abs=1e-8)
    assert other[3:5] == pytest.approx(one[3:5], rel=1e-6)
    assert other.components == pytest.approx(one.components, rel=1e-6, abs=1e-9, nan_ok=True)


@given(tables, st.floats(0.01, 100))
def test_a_scale_scales_the_interval_and_keeps_p(table, scale):
    one, other = crossed_mean(table), crossed_mean(table * scale)
    assert other[:4] == pytest.approx([number * scale for number in one[:4]], rel=1e-6)
    assert other.p == pytest.approx(one.p, rel=1e-6)


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_prompts_does_not_matter(table, random):
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert crossed_mean(table[rows][:, columns])[:6] == pytest.approx(crossed_mean(table)[:6], rel=1e-6)


@given(tables)
def test_many_tables_at_once_equal_one_by_one(table):
    stacked = np.stack([table, 2 * table + 1, table[::-1] ** 2])
    together = mean_squares(stacked)
    for index, one in enumerate(stacked):
        assert [part[index] for part in together] == pytest.approx(
            [float(part) for part in mean_squares(one)], rel=1e-9, nan_ok=True
        )


@given(tables, st.integers(0, 1000))
def test_exchanging_two_arms_changes_only_the_signs(table, seed):
    other = np.random.default_rng([seed, 1]).normal(size=table.shape)
    one, back = contrast([table, other], [1, -1]), contrast([other, table], [1, -1])
    assert (back.value, back.low, back.high) == pytest.approx((-one.value, -one.high, -one.low))
    assert back.p == pytest.approx(one.p)


def test_tables_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        contrast([TABLE, TABLE[:1]], [1, -1])


def test_prompts_that_are_alike_within_a_seed_leave_the_t_interval_over_seeds():
    means = np.array([0.2, 0.5, 0.35])
    found = crossed_mean(np.repeat(means[:, None], 7, axis=1))
    wanted = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(("seeds", "prompt", "seed"), [(3, 0, 0), (3, 1, 0.06), (3, 0.3, 1), (5, 0, 0.1), (5, 1, 0)])
def test_false_positives_are_as_many_as_stated(seeds, prompt, seed):
    rng = np.random.default_rng(5)
    values = (
        prompt * rng.normal(size=(3000, 1, 100))
        + seed * rng.normal(size=(3000, seeds, 1))
        + rng.normal(size=(3000, seeds, 100))
    )
    found = crossed_interval(values.mean(axis=(1, 2)), mean_squares(values), prompts=100, seeds=seeds)
    assert 0.03 <= np.mean((found.low > 0) | (found.high < 0)) <= 0.08


@replay
def test_notus_and_zephyr_with_one_seed():
    found = contrast([_points("notus-7b-v1"), _points("zephyr-7b-beta")], [1, -1])
    assert (found.value, found.low, found.high) == pytest.approx((0.935, -1.10, 2.97), abs=0.005)
    assert found.p == pytest.approx(0.37, abs=0.005)
    assert (found.prompts, found.left_out) == (802, 3)


@replay
def test_notus_and_zephyr_are_equivalent_within_3_points_and_not_2():
    found = crossed_mean(_points("notus-7b-v1") - _points("zephyr-7b-beta"))
    tests = [within_margin(found, margin) for margin in (3, 2)]
    assert [test.equivalent for test in tests] == [True, False]


def test_differences_whose_squares_vanish_have_the_p_of_the_same_differences_in_other_units():
    table = np.array([[0.0, 0.0, 7.4], [0.0, 1.0, 6.0]])
    for values in (table, table[:1]):
        usual, tiny = crossed_mean(values), crossed_mean(values * 1e-246)
        assert tiny.p == pytest.approx(usual.p)
        assert tiny.high * 1e246 == pytest.approx(usual.high)
        assert (tiny.prompts, tiny.seeds) == (usual.prompts, usual.seeds)
