import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from notus_exp.inference.estimates import (
    difference_of_means,
    mean_estimate,
    paired_difference,
    share_estimate,
    standard_error,
)


def test_mean_has_the_textbook_t_interval():
    # values 1, 2, 3, 4: mean 2.5, sd 1.2910, standard error 0.6455, t(0.975, 3) = 3.1824
    estimate = mean_estimate([1, 2, 3, 4])
    assert estimate.value == 2.5
    assert estimate.low == pytest.approx(2.5 - 3.182446 * 0.6454972, abs=1e-5)
    assert estimate.high == pytest.approx(2.5 + 3.182446 * 0.6454972, abs=1e-5)
    assert estimate.n == 4


def test_missing_values_are_left_out_and_not_counted():
    assert mean_estimate([1.0, None, 2.0, float("nan"), 3.0, 4.0]) == mean_estimate([1, 2, 3, 4])


def test_nothing_measured_is_nan_with_n_0():
    for estimate in (mean_estimate([]), mean_estimate([None]), share_estimate(0, 0)):
        assert estimate.n == 0
        assert all(math.isnan(number) for number in estimate[:3])


def test_one_prompt_has_a_value_but_no_interval():
    estimate = mean_estimate([0.7], span=(0, 1))
    assert estimate.value == 0.7
    assert estimate.n == 1
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_equal_values_without_a_span_have_no_interval():
    estimate = mean_estimate([0.1] * 10)
    assert estimate.value == pytest.approx(0.1)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_equal_values_with_a_span_get_the_rule_of_three():
    # 1 - 0.05^(1/60) = 0.04871: at most this share of prompts is not at 1
    estimate = mean_estimate([1.0] * 60, span=(0, 1))
    assert estimate == pytest.approx((1.0, 1 - 0.04871, 1.0, 60), abs=1e-4)
    middle = mean_estimate([0.5] * 60, span=(0, 1))
    assert middle == pytest.approx((0.5, 0.5 - 0.02435, 0.5 + 0.02435, 60), abs=1e-4)


def test_the_interval_is_cut_to_the_span():
    values = [1.0] * 9 + [0.0]
    assert mean_estimate(values).high > 1
    assert mean_estimate(values, span=(0, 1)).high == 1
    assert mean_estimate(values, span=(0, 1)).low == mean_estimate(values).low


def test_clusters_of_one_change_nothing():
    values = [0.2, 0.9, 0.4, 0.4, 1.0]
    assert mean_estimate(values, clusters=list("badce")) == pytest.approx(mean_estimate(values))


def test_repeating_every_prompt_narrows_nothing_when_clustered():
    values = [0.2, 0.9, 0.4, 0.4, 1.0]
    doubled = mean_estimate(values * 2, clusters=list("abcde") * 2)
    assert doubled == pytest.approx(mean_estimate(values))
    assert doubled.n == 5


def test_clustered_error_by_hand():
    # mean 2; residual sums: a: -1 + 1 = 0, b: 0 - 2 = -2, c: 2. sqrt(3/2 * 8) / 5; t(0.975, 2) = 4.302653
    estimate = mean_estimate([1, 3, 2, 0, 4], clusters=["a", "a", "b", "b", "c"])
    reach = 4.302653 * math.sqrt(12) / 5
    assert estimate == pytest.approx((2, 2 - reach, 2 + reach, 3), abs=1e-5)


def test_clusters_of_left_out_values_are_not_counted():
    assert mean_estimate([1, 2, None], clusters=["a", "b", "c"]).n == 2


def test_wilson_interval_of_a_known_case():
    # 10 of 20 at z = 1.959964: centre 0.5, half width z sqrt(0.25/20 + z^2/1600) / (1 + z^2/20) = 0.20070
    assert share_estimate(10, 20) == pytest.approx((0.5, 0.29930, 0.70070, 20), abs=1e-4)


def test_wilson_interval_keeps_a_width_at_the_ends():
    assert share_estimate(0, 64).low == pytest.approx(0, abs=1e-12)
    assert share_estimate(0, 64).high > 0.04
    assert share_estimate(64, 64).low < 0.96


def test_paired_difference_uses_complete_pairs_only():
    estimate = paired_difference([1.0, 0.0, 1.0, None, 1.0], [0.0, 0.0, 1.0, 1.0, None], span=(-1, 1))
    assert estimate.value == pytest.approx(1 / 3)
    assert estimate.n == 3


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30), st.floats(-10, 10))
def test_a_constant_shift_shifts_the_paired_difference(values, shift):
    base = np.random.default_rng(0).normal(size=len(values))
    one = paired_difference(values, base)
    other = paired_difference(np.asarray(values) + shift, base)
    assert other.value == pytest.approx(one.value + shift, abs=1e-9)
    assert other.high - other.low == pytest.approx(one.high - one.low, abs=1e-9, nan_ok=True)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_t_interval_equals_scipys_one_sample_interval(values):
    estimate = mean_estimate(values)
    if np.ptp(values) > 1e-6:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_wilson_covers_the_truth_as_often_as_it_says(share):
    # not simulated: the sum of the binomial probabilities of the counts whose interval holds the truth
    counts = range(65)
    covers = [share_estimate(k, 64).low <= share <= share_estimate(k, 64).high for k in counts]
    assert 0.92 <= float(stats.binom.pmf(counts, 64, share) @ np.array(covers, float)) <= 0.98


@pytest.mark.parametrize("kind", ["normal", "accuracy", "skewed"])
def test_t_interval_covers_the_truth_as_often_as_it_says(kind):
    rng = np.random.default_rng(20)
    samples, truth = {
        "normal": (rng.normal(0.3, 2.0, (1500, 64)), 0.3),
        "accuracy": (rng.binomial(6, 0.7, (1500, 64)) / 6, 0.7),
        "skewed": (rng.exponential(1.0, (1500, 64)), 1.0),
    }[kind]
    estimates = [mean_estimate(sample) for sample in samples]
    assert 0.92 <= np.mean([e.low <= truth <= e.high for e in estimates]) <= 0.98


def test_paired_t_interval_of_binary_outcomes_covers_the_truth():
    # policy right in 60 %, base in 30 %, both from the same prompt's difficulty
    rng = np.random.default_rng(21)
    difficulty = rng.random((1500, 64))
    a = (difficulty + 0.2 * rng.random((1500, 64)) < 0.7).astype(float)
    b = (difficulty + 0.2 * rng.random((1500, 64)) < 0.4).astype(float)
    estimates = [paired_difference(x, y, span=(-1, 1)) for x, y in zip(a, b, strict=True)]
    assert 0.92 <= np.mean([e.low <= 0.3 <= e.high for e in estimates]) <= 0.98


def test_clustered_interval_covers_the_truth_where_the_plain_one_does_not():
    rng = np.random.default_rng(22)
    clusters = np.repeat(np.arange(32), 2)
    samples = rng.normal(size=(600, 32)).repeat(2, axis=1) + 0.3 * rng.normal(size=(600, 64))
    clustered = [mean_estimate(sample, clusters=clusters) for sample in samples]
    plain = [mean_estimate(sample) for sample in samples]
    assert 0.92 <= np.mean([e.low <= 0 <= e.high for e in clustered]) <= 0.98
    assert np.mean([e.low <= 0 <= e.high for e in plain]) < 0.88


def test_a_difference_of_means_over_the_same_prompts_is_the_paired_one():
    a, b, prompts = [3.0, 5.0, 4.0, 9.0], [1.0, 5.0, 2.0, 4.0], ["p", "q", "r", "s"]
    order = [2, 0, 3, 1]
    shuffled, renamed = [b[at] for at in order], [prompts[at] for at in order]
    found = difference_of_means(a, shuffled, a_clusters=prompts, b_clusters=renamed)
    assert found == pytest.approx(paired_difference(a, b))


def test_a_difference_of_means_without_a_common_prompt_by_hand():
    # 1, 3 against 2, 4, 6: -2; squares of deviations 2 / 2^2 and 8 / 3^2, five prompts: se^2 = 5/4 (1/2 + 8/9)
    found = difference_of_means([1, 3], [2, 4, 6], a_clusters=["p", "q"], b_clusters=["r", "s", "t"])
    reach = 2.776445 * math.sqrt(5 / 4 * (1 / 2 + 8 / 9))
    assert found == pytest.approx((-2, -2 - reach, -2 + reach, 5), rel=1e-6)


def test_a_difference_of_means_takes_the_values_of_a_prompt_together():
    # prompt p: (1 - 2)/4 twice and -(5 - 4)/2; q: (3 - 2)/4 twice and -(3 - 4)/2: sums -1 and 1, so se = sqrt(2/1 * 2)
    found = difference_of_means([1, 1, 3, 3], [5, 3], a_clusters=["p", "p", "q", "q"], b_clusters=["p", "q"])
    assert found == pytest.approx((-2, -2 - 12.706205 * 2, -2 + 12.706205 * 2, 2), rel=1e-6)


def test_a_difference_of_means_leaves_out_what_is_missing_and_claims_no_certainty():
    same = difference_of_means([2.0, None, 2.0], [1.0, 1.0], a_clusters=["p", "q", "r"], b_clusters=["p", "r"])
    assert (same.value, same.n) == (1.0, 2) and math.isnan(same.low)
    one = difference_of_means([2.0, 4.0], [1.0], a_clusters=["p", "p"], b_clusters=["p"])
    assert (one.value, one.n) == (2.0, 1) and math.isnan(one.high)
    none = difference_of_means([], [1.0], a_clusters=[], b_clusters=["p"])
    assert math.isnan(none.value) and none.n == 0


@pytest.mark.parametrize("n", [1, 2, 3, 17, 60, 999])
def test_intervals_are_scipys_to_the_bit_without_its_statistics(n: int) -> None:
    for successes in {*range(min(n, 20) + 1), n // 2, n - 1, n}:
        wilson = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
        assert share_estimate(successes, n)[1:3] == (wilson.low, wilson.high)
    values = np.random.default_rng(n).normal(size=n + 1)
    assert standard_error(values) == stats.sem(values)
    sums = values - values.mean()
    reach = stats.t.ppf(0.975, n) * (math.sqrt((n + 1) / n * (sums @ sums)) / (n + 1))
    assert mean_estimate(values)[1:3] == (values.mean() - reach, values.mean() + reach)


def test_what_a_run_computes_imports_no_scipy_stats() -> None:
    modules = "notus_exp.curation.make_pairs, notus_exp.evaluation.measuring, notus_exp.evaluation.preferences.measure"
    code = f"import sys, {modules}; sys.exit('scipy.stats' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
