"""What is said beside a contrast whose p and interval may err more often than they say."""

import numpy as np
import pytest

from notus_exp.comparison.cautions import TOO_FEW, cautions, counted_cautions, unseen_would_turn
from notus_exp.comparison.contrasts import contrast, exploratory_json, family_json
from notus_exp.comparison.reach import Reach
from notus_exp.evaluation.kit.description import Metric
from notus_exp.inference.crossed import crossed_mean


def drawn(seed, *, n=60, loss=0.0, chance=0.0, mean=0.0):
    rng = np.random.default_rng(seed)
    values = mean + 0.3 * rng.standard_normal((3, n)) + 0.02 * rng.standard_normal((3, 1))
    return values + loss * (chance - (rng.random(n) < chance))


def test_what_the_rule_of_three_leaves_open():
    # 0.95^58.4 = 0.05: of 58.4 prompts a loss at one in 20 stays unseen once in 20; 0.05 x 10 against 0.95 x mean
    assert unseen_would_turn(np.array([0.52, 0.54]), 10.0, 58).tolist() == [True, False]
    assert unseen_would_turn(-0.52, 10.0, 58)
    assert not unseen_would_turn(0.1, 1.0, 60)  # 6 of 60 answers turned, all one way: yes or no cannot undo that


@pytest.mark.parametrize(("n", "chance"), [(60, 0.02), (60, 0.03), (100, 0.02)])
def test_rare_losses_on_a_known_scale_err_with_a_caution(n, chance):
    found = [crossed_mean(drawn(seed, n=n, loss=10.0, chance=chance)) for seed in range(300)]
    wrong = [one for one in found if one.p < 0.05]
    assert len(wrong) > 20  # the true mean is 0, and most of these samples hold no loss at all
    assert sum(not cautions(one, span=(-10, 10)) for one in wrong) <= 3
    [said] = cautions(next(one for one in wrong if one.skewness < 0.2), span=(-10, 10))
    assert said.startswith("Rare large differences could turn this: if one prompt in ")
    assert "lay 10 on the other side of zero (as far as the metric goes)" in said


@pytest.mark.parametrize(("mean", "span"), [(0.0, None), (0.2, None), (0.3, (-1, 1))])
def test_even_differences_have_no_caution(mean, span):
    found = [crossed_mean(drawn(seed, mean=mean)) for seed in range(200)]
    assert sum(bool(cautions(one, span=span)) for one in found) <= 6


def test_noise_whose_seeds_agree_by_chance_is_not_called_skewed():
    rng = np.random.default_rng(0)
    found = [crossed_mean(rng.standard_normal((3, 60))) for _ in range(200)]
    assert sum(bool(cautions(one)) for one in found) <= 6


def test_a_loss_that_one_arm_shows_is_counted_for_the_others():
    even, losing = drawn(1, mean=0.2), drawn(2, mean=0.2)
    losing[:, 7] -= 10
    metric = Metric("margin")

    def said(*tables):
        family = [contrast(table, "margin", f"arm{place}", "a") for place, table in enumerate(tables)]
        return [row["cautions"] for row in family_json(family, metric)]

    assert said(even) == [[]]
    [[caution], _] = said(even, losing)
    assert "(the most that was seen)" in caution


def test_which_side_of_an_uneven_span_could_turn_it():
    found = crossed_mean(drawn(3, mean=0.2))
    assert cautions(found, span=(-0.5, 10)) == []
    assert len(cautions(found, span=(-10, 0.5))) == 1


@pytest.mark.parametrize(("n", "chance"), [(60, 0.02), (60, 0.03), (100, 0.02)])
def test_rare_losses_as_large_as_the_values_of_the_metric_err_with_a_caution(n, chance):
    found = [crossed_mean(drawn(seed, n=n, loss=10.0, chance=chance)) for seed in range(300)]
    wrong = [one for one in found if one.p < 0.05]
    assert len(wrong) > 20
    assert sum(not cautions(one, seen=(-10, 10)) for one in wrong) <= 3
    [said] = cautions(next(one for one in wrong if one.skewness < 0.2), seen=(-10, 10))
    assert "lay 10 on the other side of zero (as far apart as values of this metric lie)" in said


@pytest.mark.parametrize(("n", "chance"), [(60, 0.02), (60, 0.03), (100, 0.02)])
def test_rare_losses_beyond_all_that_was_seen_err_with_a_caution_where_no_scale_bounds_them(n, chance):
    found = [crossed_mean(drawn(seed, n=n, loss=10.0, chance=chance)) for seed in range(300)]
    wrong = [one for one in found if one.p < 0.05]
    assert sum(not cautions(one, seen=(-1, 1)) for one in wrong) <= 0.065 * 300


def test_what_it_would_take_is_said_in_figures():
    # q = 1 - 0.05^(1/60) = 0.0487; to undo +0.2 a prompt must lie 0.2 (1 - q) / q = 3.91 on the other side
    values = np.tile([0.0, 0.4], (3, 30)) + np.array([[-0.01], [0.0], [0.01]])
    [said] = cautions(crossed_mean(values), seen=(-1, 1))
    assert said.startswith(
        "No scale bounds this metric: one prompt in 21 that lay 3.91 on the other side of zero, 9.8 "
    )


def test_large_studies_of_clear_differences_are_silent_without_a_scale():
    found = [crossed_mean(drawn(seed, n=800, mean=0.2)) for seed in range(40)]
    assert not any(cautions(one, seen=(-10, 10)) for one in found)


def test_few_prompts_have_one_short_sentence():
    found = [
        contrast(drawn(seed, n=4, mean=3.0), "kl", f"arm{seed}", "a", reach=Reach(seen=(-9, 9))) for seed in (1, 2)
    ]
    rows = [exploratory_json(one, Metric("kl")) for one in found]
    assert [row["cautions"] for row in rows] == [[TOO_FEW], [TOO_FEW]]
    assert counted_cautions(rows) == [f"2 of 2 exploratory contrasts: {TOO_FEW}"]
