import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from notus_exp.inference.estimates import standard_error
from notus_exp.inference.paired import Equivalence, equivalence, in_words, mcnemar, paired_comparison, prompts_needed
from support.places import REPLAY

replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")

A = [1.0, 0.0, 1.0, 1.0, 0.5, 1.0]
B = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]  # differences 1, 0, 0, 1, -0.5, 1: mean 5/12, squared residuals sum to 53/24
PAIRS = [
    "notus-7b-v1__zephyr-7b-beta",
    "notus-7b-v1__claude-2",
    "notus-7b-v1__zephyr-7b-alpha",
    "tulu-2-dpo-13b__tulu-2-dpo-7b",
    "phi-2-dpo__phi-2-sft",
]
values = st.lists(st.floats(0, 100), min_size=3, max_size=40)


@pytest.fixture(scope="module")
def expected():
    return json.loads((REPLAY / "expected.json").read_text())


def published(model: str) -> list[float | None]:
    """A model's AlpacaEval 1 scores in points; 0 is a draw, empty a failed verdict."""
    column = pl.read_csv(REPLAY / "alpaca_eval/preferences_core.csv")[model].cast(pl.Float64)
    return [None if value is None else 50.0 if value == 0 else 100 * (value - 1) for value in column]


def within(found, margin):
    return equivalence(found.difference, found.standard_error, found.units - 1, margin)


def test_difference_error_and_t_test_by_hand():
    found = paired_comparison(A, B)
    error = math.sqrt(53 / 24 / 5 / 6)  # sd(ddof=1) / sqrt(6)
    assert found.n == found.units == 6
    assert found.difference == pytest.approx(5 / 12)
    assert found.standard_error == pytest.approx(error)
    assert found.z == pytest.approx(5 / 12 / error)
    assert found.interval_z == pytest.approx((5 / 12 - 1.959964 * error, 5 / 12 + 1.959964 * error), abs=1e-6)
    assert found.interval_t == pytest.approx((5 / 12 - 2.570582 * error, 5 / 12 + 2.570582 * error), abs=1e-6)


def test_a_prompt_without_a_value_on_one_side_is_left_out_and_counted():
    found = paired_comparison([*A, None, 1.0, math.nan], [*B, 1.0, None, math.nan])
    assert found == paired_comparison(A, B)._replace(left_out=3)


def test_nothing_in_common_is_nan_and_said():
    found = paired_comparison([1.0, None], [None, 1.0])
    assert (found.n, found.left_out) == (0, 2)
    assert math.isnan(found.difference)
    assert math.isnan(found.p_t)
    assert in_words(found, [within(found, 3)], "points") == "cannot tell: nothing to compare, so there is no interval"


def test_the_same_difference_everywhere_claims_no_certainty():
    found = paired_comparison([1.0, 1.0, 0.0], [1.0, 1.0, 0.0])
    assert found.difference == 0
    assert all(math.isnan(number) for number in (found.standard_error, *found.interval_t, found.p_t))
    assert not within(found, 3).equivalent
    assert prompts_needed(found, 2) is None
    assert in_words(found, [], "points") == "cannot tell: +0.00 points everywhere, so there is no interval"


@given(values, st.integers(0, 1000))
def test_p_and_interval_equal_scipys_paired_t_test(a, seed):
    b = np.random.default_rng(seed).uniform(0, 100, len(a))
    if np.ptp(np.asarray(a) - b) > 1e-3:
        found, wanted = paired_comparison(a, b), stats.ttest_rel(a, b)
        interval = wanted.confidence_interval(0.95)
        assert found.p_t == pytest.approx(wanted.pvalue, rel=1e-9, abs=1e-12)
        assert found.interval_t == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-9)


@given(values, st.integers(0, 1000))
def test_exchanging_the_sides_changes_only_the_signs(a, seed):
    b = np.random.default_rng(seed).uniform(0, 100, len(a))
    if np.ptp(np.asarray(a) - b) > 1e-3:
        one, other = paired_comparison(a, b), paired_comparison(b, a)
        assert other.difference == pytest.approx(-one.difference)
        assert other.p_t == pytest.approx(one.p_t)
        assert within(other, 5).p == pytest.approx(within(one, 5).p)
        assert mcnemar(a, b, draw=50)[:2] == mcnemar(b, a, draw=50)[1::-1]


@given(values, st.integers(0, 1000), st.floats(0.5, 50))
def test_equivalence_equals_statsmodels_two_one_sided_tests(a, seed, margin):
    b = np.random.default_rng(seed).uniform(0, 100, len(a))
    if np.ptp(np.asarray(a) - b) > 1e-3:
        wanted = ttost_paired(np.asarray(a), b, -margin, margin)[0]
        assert within(paired_comparison(a, b), margin).p == pytest.approx(wanted, rel=1e-7, abs=1e-12)


def test_a_draw_is_neither_won_nor_lost():
    # decided on both sides: win/loss twice, loss/win once, win/win; the rest holds a draw
    a = [1, 1, 0, 1, 0.5, 1, 0.5]
    b = [0, 0, 1, 1, 0, 0.5, 0.5]
    assert mcnemar(a, b, draw=0.5) == (2, 1, pytest.approx(1.0))  # of 3 at one half, 2 or more on either side: always


def test_mcnemar_without_discordant_prompts_has_p_1():
    assert mcnemar([1, 0], [1, 0], draw=0.5) == (0, 0, 1.0)


@pytest.mark.parametrize(("a_only", "b_only"), [(10, 2), (3, 3), (0, 7), (40, 25)])
def test_mcnemar_equals_statsmodels_exact_test(a_only, b_only):
    a, b = [1] * a_only + [0] * b_only, [0] * a_only + [1] * b_only
    wanted = statsmodels_mcnemar([[5, a_only], [b_only, 5]], exact=True).pvalue
    assert mcnemar(a, b, draw=0.5) == (a_only, b_only, pytest.approx(wanted))


@pytest.mark.parametrize("effect", [0.05, 0.3, 2.0])
def test_the_counted_prompts_reach_the_power_and_one_fewer_does_not(effect):
    found = paired_comparison(A, B)
    needed = prompts_needed(found, effect)
    size = effect / (found.standard_error * math.sqrt(6))
    assert TTestPower().power(size, needed.t, 0.05) >= 0.8
    assert needed.t == 2 or TTestPower().power(size, needed.t - 1, 0.05) < 0.8
    assert needed.normal == math.ceil(((1.959964 + 0.841621) / size) ** 2)


def test_an_effect_far_beyond_the_spread_needs_two_prompts():
    assert prompts_needed(paired_comparison(A, B), 1000).t == 2


def test_clustered_error_by_hand():
    # differences 1, 3, 2, 0, 4, mean 2; residual sums: a 0, b -2, c 2: sqrt(8) / 5, t at 3 - 1 degrees
    found = paired_comparison([1, 3, 2, 0, 4], [0] * 5, clusters=["a", "a", "b", "b", "c"])
    assert (found.n, found.units) == (5, 3)
    assert found.standard_error == pytest.approx(math.sqrt(8) / 5)
    assert found.p_t == pytest.approx(2 * stats.t.sf(2 / (math.sqrt(8) / 5), 2))


def test_two_turns_that_agree_are_worth_one_question():
    doubled = paired_comparison(A * 2, B * 2, clusters=list("abcdef") * 2)
    assert doubled.units == 6
    assert doubled.standard_error == pytest.approx(paired_comparison(A, B).standard_error * math.sqrt(5 / 6))


def test_error_of_one_cluster_or_equal_values_is_unknown():
    assert math.isnan(standard_error([1, 2, 3], clusters=["a", "a", "a"]))
    assert math.isnan(standard_error([1, 1, 1]))
    assert math.isnan(standard_error([1, None]))


def test_words_name_the_margins_that_hold_and_those_that_do_not():
    found = paired_comparison(A, B)
    low, high = found.interval_t
    measured = f"not distinguishable (+0.42 points, 95 % {low:.2f} to {high:.2f})"
    both = [Equivalence(3, 0.01, True), Equivalence(2, 0.2, False)]
    assert in_words(found, both, "points") == f"{measured}, equivalent within 3 points, not within 2"
    assert in_words(found, both[1:], "points") == f"{measured}, not shown equivalent within 2"


@replay
@pytest.mark.parametrize("pair", PAIRS)
def test_published_alpaca_eval_pairs(expected, pair):
    wanted, (a, b) = expected[f"paired/{pair}"], map(published, pair.split("__"))
    found, discordant = paired_comparison(a, b), mcnemar(a, b, draw=50)
    got = {
        "n": found.n,
        "diff_pts": found.difference,
        "se_pts": found.standard_error,
        "ci95_z": list(found.interval_z),
        "z": found.z,
        "p_z": found.p_z,
        "p_t": found.p_t,
        "corr": found.correlation,
        "se_unpaired_pts": found.standard_error_unpaired,
        "discordant": list(discordant[:2]),
        "mcnemar_exact_p": discordant.p,
    }
    for name, value in got.items():
        assert value == pytest.approx(wanted[name], rel=1e-9, abs=1e-9), name


@replay
def test_notus_and_zephyr_are_equivalent_within_3_points_but_not_2(expected):
    wanted = expected["paired/notus-7b-v1__zephyr-7b-beta"]
    found = paired_comparison(published("notus-7b-v1"), published("zephyr-7b-beta"))
    tests = [within(found, 3), within(found, 2)]
    assert round(tests[0].p, 4) == wanted["tost_p_at_3_points"]
    needed = prompts_needed(found, 2)
    assert {"normal": needed.normal, "t": needed.t} == wanted["prompts_for_80_percent_power_at_2_points"]
    assert in_words(found, tests, "points") == (
        "not distinguishable (+0.94 points, 95 % -1.10 to 2.97), equivalent within 3 points, not within 2"
    )


@replay
def test_mt_bench_pair_clustered_by_question(expected):
    wanted = expected["mtb_paired/mistral-orpo-trl__mistral-orpo-mix"]
    table = pl.read_ndjson(REPLAY / "mt_bench/alvarobartt_single.jsonl").sort("question_id", "turn")
    a, b = (table.filter(model=f"mistral-orpo-{name}")["score"].cast(pl.Float64).to_list() for name in ("trl", "mix"))
    questions = table.filter(model="mistral-orpo-trl")["question_id"].to_list()
    assert paired_comparison(a, b).standard_error == pytest.approx(wanted["se_naive"], abs=1e-9)
    found = paired_comparison(a, b, clusters=questions)
    assert (found.n, found.units) == (wanted["n"], 80)
    assert found.difference == pytest.approx(wanted["diff"], abs=1e-9)
    assert found.standard_error == pytest.approx(wanted["se_cluster_question"], abs=1e-9)
