import json
import math

import numpy as np
import pytest
import statsmodels.api as sm

from notus_exp.errors import UserError
from notus_exp.inference.bradley_terry import bradley_terry, fit_strengths
from notus_exp.inference.games import games_of_values
from support.places import REPLAY

replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")


def verdicts(*games: tuple[str, str, float, int]):
    """Return first, second and score, each verdict so many times."""
    rows = [(first, second, score) for first, second, score, times in games for _ in range(times)]
    return tuple(map(list, zip(*rows, strict=True)))


def by_name(fit):
    return {strength.name: strength for strength in fit.strengths}


@replay
def test_baseball_has_the_coefficients_that_r_prints():
    data = json.loads((REPLAY / "bradley_terry/baseball_1987.json").read_text())
    teams = data["teams"]
    games = [
        (one, other, 1.0, wins)
        for one, row in zip(teams, data["wins_row_over_column"], strict=True)
        for other, wins in zip(teams, row, strict=True)
    ]
    fit = bradley_terry(*verdicts(*games), reference="Baltimore")
    found = by_name(fit)
    for team, coefficient in data["published_R_BradleyTerry2_coef_vs_Baltimore"].items():
        assert round(found[team].value, 4) == coefficient
        assert round(found[team].standard_error, 4) == data["published_se"][team]
    for team, coefficient in data["full_precision_mle"].items():
        assert found[team].value == pytest.approx(coefficient, abs=6e-6)
    assert (fit.games, fit.ties, fit.reference) == (int(np.sum(data["wins_row_over_column"])), 0, "Baltimore")
    assert (found["Baltimore"].value, fit.strengths[0].name) == (0, "Milwaukee")
    assert math.isnan(found["Baltimore"].standard_error)


def test_two_models_have_the_log_odds_of_their_wins():
    # 3 wins and 2 ties of 6: 4 points to 2, log 2; error 1 / sqrt(6 x 2/3 x 1/3)
    fit = bradley_terry(*verdicts(("b", "a", 1, 2), ("a", "b", 0, 1), ("a", "b", 0.5, 2), ("a", "b", 1, 1)))
    strength = by_name(fit)["b"]
    assert strength.value == pytest.approx(math.log(2))
    assert strength.standard_error == pytest.approx(1 / math.sqrt(6 * 2 / 9))
    assert strength.high == pytest.approx(math.log(2) + 1.959964 / math.sqrt(6 * 2 / 9))
    assert (fit.games, fit.ties, fit.reference) == (6, 2, "a")


def test_exchanging_the_sides_of_a_verdict_changes_nothing():
    first, second, score = verdicts(("a", "b", 1, 3), ("b", "c", 0.5, 4), ("c", "a", 1, 2), ("b", "a", 1, 1))
    exchanged = bradley_terry(second, first, [1 - one for one in score])
    for one, other in zip(exchanged.strengths, bradley_terry(first, second, score).strengths, strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], abs=1e-9, nan_ok=True)


def test_another_reference_moves_all_strengths_alike():
    games = verdicts(("a", "b", 1, 3), ("b", "c", 1, 4), ("c", "a", 1, 2), ("b", "a", 1, 1))
    one, other = by_name(bradley_terry(*games)), by_name(bradley_terry(*games, reference="c"))
    assert one["b"].value - one["c"].value == pytest.approx(other["b"].value)


def test_repeating_every_verdict_of_a_prompt_narrows_nothing_when_clustered():
    first, second, score = verdicts(("a", "b", 1, 7), ("a", "b", 0, 5))
    prompts = list(range(12))
    once = by_name(bradley_terry(first, second, score, clusters=prompts))["b"]
    # the same verdicts four times a prompt
    often = by_name(bradley_terry(first * 4, second * 4, score * 4, clusters=prompts * 4))["b"]
    assert often.value == pytest.approx(once.value)
    assert often.standard_error == pytest.approx(once.standard_error, rel=1e-6)
    assert by_name(bradley_terry(first * 4, second * 4, score * 4))["b"].standard_error < 0.6 * once.standard_error


def test_intervals_of_few_clusters_have_the_quantiles_of_t():
    first, second, score = verdicts(("a", "b", 1, 3), ("a", "b", 0, 2))
    fit = bradley_terry(first, second, score, clusters=list("ppqqr"))
    b = by_name(fit)["b"]
    assert fit.clusters == 3
    assert b.high - b.value == pytest.approx(4.302653 * b.standard_error)  # t, 2 degrees, 97.5 %
    free = by_name(bradley_terry(first, second, score))["b"]
    assert free.high - free.value == pytest.approx(1.959964 * free.standard_error)
    # the normal's two-sided p at log(3 / 2) with information n p (1 - p) = 5 * 0.6 * 0.4
    assert free.p == pytest.approx(math.erfc(math.log(1.5) * math.sqrt(1.2 / 2)))


@pytest.mark.parametrize("clusters", [list("ppppp"), list("ppqqq")])
def test_fewer_than_three_clusters_have_strengths_without_an_interval(clusters):
    b = by_name(bradley_terry(*verdicts(("a", "b", 1, 3), ("a", "b", 0, 2)), clusters=clusters))["b"]
    assert b.value == pytest.approx(math.log(2 / 3))
    assert all(math.isnan(number) for number in (b.low, b.high, b.standard_error, b.p))


def test_ties_alone_are_equal_strengths_without_a_warning(recwarn):
    games = verdicts(("a", "b", 0.5, 6))
    free, clustered = (by_name(bradley_terry(*games, clusters=by))["b"] for by in (None, list(range(6))))
    assert not recwarn.list
    assert (free.value, clustered.value) == pytest.approx((0, 0))
    assert free.standard_error == pytest.approx(1 / math.sqrt(6 / 4))
    assert math.isnan(clustered.standard_error)  # clusters that do not differ tell no error
    assert math.isnan(clustered.high)


@pytest.mark.parametrize(
    ("games", "said"),
    [
        ([("a", "b", 1, 2), ("c", "d", 1, 2)], r"\[a, b\] and \[c, d\] never met"),
        ([("a", "b", 1, 2), ("b", "a", 1, 1), ("a", "c", 1, 2), ("b", "c", 1, 1)], r"\[a, b\] never lost to \[c\]"),
        ([("a", "b", 0, 2)], r"\[b\] never lost to \[a\]"),
        ([("a", "a", 1, 1)], "'a' against itself"),
        ([("a", "b", 2, 1)], "score of verdict 0 .* is 2"),
        ([("a", "b", math.nan, 1)], "is nan"),
    ],
)
def test_what_has_no_finite_strengths_is_refused_by_name(games, said):
    with pytest.raises(UserError, match=said):
        bradley_terry(*verdicts(*games))


def test_no_verdict_and_an_unknown_reference_are_refused():
    with pytest.raises(UserError, match="no verdict"):
        bradley_terry([], [], [])
    with pytest.raises(UserError, match="'model-x' is in no verdict"):
        bradley_terry(*verdicts(("model-a", "model-b", 0.5, 2)), reference="model-x")


def test_one_tie_is_enough_to_be_finite():
    assert by_name(bradley_terry(*verdicts(("a", "b", 1, 3), ("b", "a", 0.5, 1))))["b"].value == pytest.approx(
        math.log(0.5 / 3.5)
    )


def test_estimates_recover_known_strengths():
    truth = {"a": 0.0, "b": 0.6, "c": -0.4, "d": 1.2}
    rng, names = np.random.default_rng(9), list(truth)
    first, second = rng.choice(names, 6000).tolist(), rng.choice(names, 6000).tolist()
    rows = [
        (one, other, float(rng.random() < 1 / (1 + math.exp(truth[other] - truth[one]))))
        for one, other in zip(first, second, strict=True)
        if one != other
    ]
    found = by_name(bradley_terry(*map(list, zip(*rows, strict=True))))
    for name in names[1:]:
        assert abs(found[name].value - truth[name]) < 3 * found[name].standard_error
        assert found[name].standard_error < 0.1


def regression(first, second, score, clusters):
    """Strengths and errors above the first name by the logistic regression that this is, on a row a game."""
    names = sorted({*first, *second})
    one, other = (np.array([names.index(name) for name in side]) for side in (first, second))
    design = (np.eye(len(names))[one] - np.eye(len(names))[other])[:, 1:]
    how = {}
    if clusters is not None:
        how = {"cov_type": "cluster", "cov_kwds": {"groups": np.unique(clusters, return_inverse=True)[1]}}
    fitted = sm.GLM(np.array(score), design, family=sm.families.Binomial()).fit(tol=1e-14, maxiter=200, **how)
    return dict(zip(names[1:], zip(fitted.params, fitted.bse, strict=True), strict=True))


def tournament(models, prompts, seeds, missing=0.1, seed=0):
    """Values of models by seeds and prompts, coarse so that there are ties, some missing; and the games one by one."""
    rng = np.random.default_rng(seed)
    shape = (models, seeds, prompts)
    values = np.round(rng.normal(size=shape) + rng.normal(size=prompts) + np.linspace(0, 1, models)[:, None, None], 0)
    values[rng.random(shape) < missing] = np.nan
    games = []
    for one in range(models):
        for other in range(one + 1, models):
            for seed_, prompt in np.argwhere(~np.isnan(values[one] - values[other])):
                difference = values[one, seed_, prompt] - values[other, seed_, prompt]
                games.append((f"m{one}", f"m{other}", 0.5 + 0.5 * np.sign(difference), str(prompt)))
    return [f"m{number}" for number in range(models)], values, tuple(map(list, zip(*games, strict=True)))


@pytest.mark.parametrize("clustered", [False, True])
def test_strengths_and_errors_are_those_of_the_regression_to_8_digits(clustered):
    _, _, (first, second, score, prompts) = tournament(6, 40, 2)
    clusters = prompts if clustered else None
    found = by_name(bradley_terry(first, second, score, clusters=clusters))
    for name, (value, error) in regression(first, second, score, clusters).items():
        assert found[name].value == pytest.approx(value, rel=1e-8)
        assert found[name].standard_error == pytest.approx(error, rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_games_of_values_are_the_games_one_by_one(seed):
    names, values, (first, second, score, prompts) = tournament(5, 30, 2, missing=0.3, seed=seed)
    whole = fit_strengths(games_of_values(names, values), "m2")
    single = bradley_terry(first, second, score, reference="m2", clusters=prompts)
    assert whole[1:] == single[1:]
    for one, other in zip(whole.strengths, single.strengths, strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], rel=1e-8, nan_ok=True)


def test_a_model_or_prompt_without_a_game_is_none():
    values = np.full((3, 1, 6), np.nan)
    values[0], values[1, 0, :5] = [[1, 2, 1, 2, 1, 3]], [2, 1, 2, 1, 2]
    games = games_of_values(["a", "b", "absent"], values)
    assert (games.names, games.total, games.ties, games.clusters) == (["a", "b"], 5, 0, 5)
    with pytest.raises(UserError, match="the reference 'absent' is in no verdict"):
        fit_strengths(games, "absent")
    with pytest.raises(UserError, match="there is no verdict"):
        fit_strengths(games_of_values(["a", "b"], values[:2, :, 5:]), "a")
