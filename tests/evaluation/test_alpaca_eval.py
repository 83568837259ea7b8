import gzip
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.length_adjusted import length_adjusted
from notus_exp.evaluation.alpaca_eval.length_control import (
    Weights,
    predict_length_controlled,
    why_none,
)
from notus_exp.evaluation.alpaca_eval.published import (
    place_in_leaderboard,
    read_annotations,
    read_difficulty,
    read_leaderboard,
    read_preference_column,
    read_weights,
    write_annotations,
    write_leaderboard,
    write_model_outputs,
)
from notus_exp.evaluation.alpaca_eval.win_rates import combine_orders, estimates, measure, points
from notus_exp.external.score_logprobs import _preference
from notus_exp.inference.estimates import Estimate
from notus_exp.judging.verdict_origin import VerdictOrigin
from support.places import REPLAY

ALPACA = REPLAY / "alpaca_eval"
replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")


@pytest.fixture(scope="module")
def expected():
    return json.loads((REPLAY / "expected.json").read_text())


def preferred(*preferences: float | None) -> pl.DataFrame:
    ids = [f"{number:016x}" for number in range(len(preferences))]
    return pl.DataFrame({"prompt_id": ids, "preference": preferences}, schema_overrides={"preference": pl.Float64})


def verdicts(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"prompt_id": pl.String, "order": pl.String, "value": pl.Float64}, orient="row")


def answers(lengths: list[int], preferences: list[float | None], reference: int = 100) -> pl.DataFrame:
    return preferred(*preferences).with_columns(
        reference=pl.lit("r" * reference), model=pl.Series(["m" * length for length in lengths])
    )


def simulated(n: int = 200) -> tuple[pl.DataFrame, pl.DataFrame, Weights]:
    """Answers whose preference is exactly what the model of length control says, so that the fit has no error."""
    rng, truth = np.random.default_rng(5), Weights(0.8, 0.5, -0.3)
    lengths, hardness = rng.integers(20, 400, n), rng.normal(size=n)
    dlen = lengths - 100
    chance = 1 / (1 + np.exp(-(0.8 * np.tanh(dlen / dlen.std(ddof=1)) + 0.5 * hardness - 0.3)))
    table = answers(lengths.tolist(), (1 + chance).tolist())
    return table, table.select("prompt_id", difficulty=pl.Series(hardness)), truth


def test_figures_by_hand():
    # points 100, 100, 0, 50, 50, 75: mean 62.5, squared deviations sum to 7187.5
    score = measure(preferred(2, 2, 1, 0, 1.5, 1.75))
    assert (score.n_wins, score.n_wins_base, score.n_draws, score.n_total) == (3, 1, 2, 6)
    assert score.win_rate == 62.5
    assert score.standard_error == pytest.approx(math.sqrt(7187.5 / 5 / 6))
    assert score.discrete_win_rate == pytest.approx(100 * 4 / 6)
    assert score.avg_length is None


def test_what_is_no_verdict_leaves_numerator_and_denominator_and_is_counted():
    score = measure(preferred(2, None, 1, math.nan, 3, -1, 0.5, 2.0001))
    assert (score.win_rate, score.n_total) == (50, 2)
    assert (score.n_missing, score.n_invalid) == (2, 4)


def test_no_verdict_at_all_is_nan_and_no_loss():
    score = measure(preferred(None, None))
    assert math.isnan(score.win_rate)
    assert math.isnan(score.standard_error)
    assert math.isnan(score.discrete_win_rate)
    assert (score.n_total, score.n_missing) == (0, 2)


def test_average_length_counts_characters_of_all_rows_and_is_cut():
    table = preferred(2, None, 1).with_columns(model=pl.Series(["añb", "abcd", "a"]))  # 8 characters in 3 answers
    assert measure(table).avg_length == 2


@given(st.lists(st.sampled_from([0, 1, 1.5, 2, None]), min_size=1, max_size=40))
def test_every_row_is_counted_once_and_both_rates_agree_on_plain_verdicts(preferences):
    score = measure(preferred(*preferences))
    assert score.n_wins + score.n_wins_base + score.n_draws == score.n_total
    assert score.n_total + score.n_missing + score.n_invalid == len(preferences)
    assert score.discrete_win_rate == pytest.approx(score.win_rate, nan_ok=True)


def test_base_and_policy_are_paired_by_prompt_and_not_by_row():
    policy = preferred(2, 1, 2, None)
    base = preferred(1, 1, 2, 2).sort("prompt_id", descending=True)
    found = estimates(policy, base)
    assert found["alpaca_eval/win_rate"].value == pytest.approx(200 / 3)
    assert found["base/alpaca_eval/win_rate"].value == 50
    difference = found["difference/alpaca_eval/win_rate"]
    assert (difference.value, difference.n) == (pytest.approx(100 / 3), 3)


def test_a_win_rate_of_100_keeps_an_interval():
    # rule of three: at most 1 - 0.05^(1/20) of the prompts would lose
    found = estimates(preferred(*[2.0] * 20))["alpaca_eval/win_rate"]
    assert found == pytest.approx((100, 100 * 0.05 ** (1 / 20), 100, 20))


def test_a_prompt_twice_is_refused_with_its_side():
    twice = pl.concat([preferred(2), preferred(1)])
    with pytest.raises(UserError, match=r"0000000000000000 occurs several times among the base's"):
        estimates(preferred(2), twice)


def test_both_orders_make_their_mean():
    found = combine_orders(
        verdicts(
            ("a", "reference_first", 2), ("a", "model_first", 2),
            ("b", "reference_first", 1), ("b", "model_first", 2),  # disagree: a draw
            ("c", "reference_first", 1.5), ("c", "model_first", 0),  # both draws, 0 is one too
            ("d", "reference_first", 1.2), ("d", "model_first", 1.4),
            ("e", "reference_first", 1.5), ("e", "model_first", 2),  # a draw and a win: not the same outcome
        )
    )  # fmt: skip
    assert found.preferences["prompt_id"].to_list() == list("abcde")
    assert found.preferences["preference"].to_list() == pytest.approx([2, 1.5, 1.5, 1.3, 1.75])
    assert (found.inconsistent, found.draws, found.failed) == (2, 2, 0)


def test_a_prompt_with_a_failed_or_missing_order_has_no_preference():
    found = combine_orders(
        verdicts(
            ("a", "reference_first", 2), ("a", "model_first", None),
            ("b", "reference_first", 1),
            ("c", "reference_first", 2), ("c", "model_first", 1),
        )
    )  # fmt: skip
    assert found.preferences["preference"].to_list() == [None, None, 1.5]
    assert (found.inconsistent, found.failed) == (1, 2)


def test_one_order_alone_is_the_preference():
    found = combine_orders(verdicts(("b", "", 1), ("a", "", 2), ("c", "", None)))
    assert found.preferences["preference"].to_list() == [2, 1, None]
    assert found.failed == 1


def test_two_verdicts_of_one_order_are_refused():
    with pytest.raises(UserError, match=r"prompt a has several verdicts of the order 'model_first'"):
        combine_orders(verdicts(("a", "model_first", 2), ("a", "model_first", 1)))


def test_points_keep_the_order_and_null_what_is_no_verdict():
    assert points(pl.Series([1, 2, 0, None, 5])).to_list() == [0, 100, 50, None, None]


def test_length_control_recovers_the_weights_that_made_the_preferences():
    table, difficulty, truth = simulated()
    found = length_adjusted(table, difficulty, resamples=50)
    assert found.weights == pytest.approx(truth, abs=1e-6)
    hardness = difficulty["difficulty"].to_numpy()
    assert found.win_rate.value == pytest.approx(100 * np.mean(1 / (1 + np.exp(-(0.5 * hardness - 0.3)))), abs=1e-6)
    assert found.win_rate.low < found.win_rate.value < found.win_rate.high
    assert (found.win_rate.n, found.resamples, found.separated_resamples) == (200, 50, 0)


def test_difficulty_is_joined_by_prompt_and_what_lacks_one_is_counted():
    table, difficulty, truth = simulated()
    unjudged = table.with_columns(
        preference=pl.when(pl.col("prompt_id") == table["prompt_id"][0]).then(None).otherwise("preference")
    )
    shuffled = difficulty.sort("difficulty").filter(pl.col("prompt_id") != table["prompt_id"][7])
    found = length_adjusted(unjudged, shuffled, resamples=5)
    # the standard deviation of the lengths is of 198 rows now, so theta moves a little
    assert found.weights == pytest.approx(truth, abs=0.05)
    assert (found.n_without_verdict, found.n_without_difficulty, found.n_without_lengths) == (1, 1, 0)
    assert found.win_rate.n == 198


def test_the_bootstrap_is_the_same_for_the_same_seed():
    table, difficulty, _ = simulated(60)
    first, again, other = (length_adjusted(table, difficulty, resamples=40, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.win_rate.low != other.win_rate.low


def test_bootstrap_error_without_length_or_difficulty_is_that_of_a_mean():
    # all as long as the reference, one difficulty: the win rate is the mean of 60 wins in 100, its error sqrt(.24/100)
    table = answers([50] * 100, [2.0] * 60 + [1.0] * 40, reference=50)
    found = length_adjusted(table, table.select("prompt_id", difficulty=pl.lit(0.0)))
    assert found.win_rate.value == pytest.approx(60)
    assert found.standard_error == pytest.approx(4.9, rel=0.1)
    assert (found.win_rate.low, found.win_rate.high) == pytest.approx((60 - 9.6, 60 + 9.6), abs=1.1)


@pytest.mark.parametrize(
    "preferences",
    [
        pytest.param([2.0] * 6, id="always wins"),
        pytest.param([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], id="longer wins"),
        pytest.param([1.0, 1.0, 2.0, 1.0, 2.0, 2.0], id="difficulty tells"),
    ],
)
def test_separation_is_reported_and_gives_no_number(preferences):
    table = answers([10, 20, 60, 50, 110, 120], preferences)
    difficulty = table.select("prompt_id", difficulty=pl.Series([0.0, 0.0, 5.0, 0.0, 5.0, 5.0]))
    found = length_adjusted(table, difficulty)
    assert found.separated
    assert found.weights is None
    assert math.isnan(found.win_rate.value)
    assert math.isnan(found.standard_error)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        pytest.param(498, 503, "every answer is shorter", id="far below: tanh is -1 in every row"),
        pytest.param(440, 551, "every answer is shorter", id="below: tanh is nearly -1"),
        pytest.param(500, 501, "every answer is shorter", id="all equally shorter"),
        pytest.param(1001, 1400, "every answer is longer", id="just above"),
    ],
)
def test_equal_length_outside_the_data_gives_no_number_and_says_why(first, last, said):
    rng = np.random.default_rng(0)
    table = answers(
        rng.integers(first, last, 100).tolist(), rng.permutation([2.0] * 60 + [1.0] * 40).tolist(), reference=1000
    )
    found = length_adjusted(table, table.select("prompt_id", difficulty=pl.Series(rng.normal(size=100))))
    assert said in why_none(found)
    assert (found.separated, found.weights, found.win_rate.n, found.resamples) == (False, None, 100, 0)
    assert math.isnan(found.win_rate.value)
    assert math.isnan(found.win_rate.low)


def test_lengths_that_follow_from_difficulty_give_no_number():
    # three lengths, 50, 100 and 150, and a difficulty that is a straight line of them
    table = answers([50, 100, 150] * 10, [2.0, 1.0, 2.0, 1.0, 2.0, 1.0] * 5)
    found = length_adjusted(table, table.select("prompt_id", difficulty=pl.Series([-3.0, 1.0, 5.0] * 10)))
    assert "follow from the difficulties" in why_none(found)
    assert math.isnan(found.win_rate.value)


def test_resamples_without_equal_length_are_left_out_and_counted():
    # one answer of 40 is as long as its reference and a draw: (39/40)^40, about 36 % of the resamples, lack it
    table = answers([50] * 20 + [60] * 19 + [100], [2.0, 1.0] * 19 + [1.0, 1.5])
    found = length_adjusted(table, table.select("prompt_id", difficulty=pl.lit(0.0)), resamples=60)
    assert why_none(found) is None
    assert 10 <= found.separated_resamples <= 34
    assert math.isnan(found.win_rate.low)


def test_no_row_with_a_difficulty_is_counted_and_gives_no_number():
    table, difficulty, _ = simulated(10)
    found = length_adjusted(table, difficulty.with_columns(prompt_id=pl.lit("x")).head(1))
    assert (found.separated, found.n_without_difficulty, found.win_rate.n) == (False, 10, 0)
    assert math.isnan(found.win_rate.value)


def test_resamples_that_are_separated_leave_the_interval_untold():
    # one loss in 12: about a third of the resamples have none
    table = answers(list(range(10, 130, 10)), [2.0] * 5 + [1.0] + [2.0] * 6)
    found = length_adjusted(table, table.select("prompt_id", difficulty=pl.lit(0.0)), resamples=60)
    assert 0 < found.separated_resamples < 60
    assert not math.isnan(found.win_rate.value)
    assert math.isnan(found.win_rate.low)


def test_prediction_at_equal_length_by_hand():
    # logits 2 - 1 = 1 and 0 - 1 = -1: the chances add up to 1
    assert predict_length_controlled(Weights(9.0, 2.0, -1.0), np.array([1.0, 0.0])) == pytest.approx(50)


BOARD = ",win_rate,mode\nbest,90.0,x\ntwin,70.0,x\nweak,30.0,x\nunknown,,x\n"


@pytest.mark.parametrize(
    ("estimate", "rank", "above", "below", "best", "worst"),
    [
        (Estimate(80, 65, 95, 50), 2, ("best", 90.0), ("twin", 70.0), 1, 3),
        (Estimate(70, 70, 71, 50), 2, ("best", 90.0), ("twin", 70.0), 2, 2),
        (Estimate(95, 91, 99, 50), 1, None, ("best", 90.0), 1, 1),
        (Estimate(10, math.nan, math.nan, 1), 4, ("weak", 30.0), None, None, None),
    ],
)
def test_place_on_a_leaderboard(tmp_path, estimate, rank, above, below, best, worst):
    file = tmp_path / "leaderboard.csv"
    file.write_text(BOARD)
    place = place_in_leaderboard(estimate, file)
    assert place == (rank, 4, above, below, best, worst, 1)


def test_a_models_own_row_is_no_rival(tmp_path):
    file = tmp_path / "leaderboard.csv"
    file.write_text(BOARD)
    assert place_in_leaderboard(Estimate(70, 60, 80, 9), file, name="twin")[:2] == (2, 3)


def test_written_annotations_are_read_back(tmp_path):
    judged = pl.DataFrame(
        {"instruction": ["i", "j"], "reference": ["r", "s"], "model": ["ü", "m"], "preference": [1.5, math.nan]}
    )
    write_annotations(
        tmp_path / "a.json", judged, reference_name="text_davinci_003", model_name="notus", annotator="judge"
    )
    first = json.loads((tmp_path / "a.json").read_text())[0]
    assert first == {
        "instruction": "i", "output_1": "r", "generator_1": "text_davinci_003", "output_2": "ü",
        "generator_2": "notus", "annotator": "judge", "preference": 1.5,
    }  # fmt: skip
    name, table, origin = read_annotations(tmp_path / "a.json")
    assert (name, origin) == ("notus", VerdictOrigin("judge", "text_davinci_003"))
    assert table["prompt_id"].to_list() == [prompt_id("i"), prompt_id("j")]
    assert table["preference"].to_list() == [1.5, None]


def test_written_outputs_have_alpaca_evals_keys(tmp_path):
    table = pl.DataFrame({"instruction": ["i"], "model": ["m"], "dataset": ["koala"]})
    write_model_outputs(tmp_path / "o.json", table, "notus")
    assert json.loads((tmp_path / "o.json").read_text()) == [
        {"instruction": "i", "output": "m", "generator": "notus", "dataset": "koala"}
    ]


@replay
def test_a_written_leaderboard_has_the_columns_of_the_published_one(tmp_path):
    scores = {
        "weak": measure(preferred(1, 1, 2)),
        "good": measure(preferred(2, 2, 1)),
        "none": measure(preferred(None)),
    }
    write_leaderboard(tmp_path / "l.csv", scores, {"good": 61.5})
    written, published = pl.read_csv(tmp_path / "l.csv"), pl.read_csv(ALPACA / "leaderboard.csv")
    assert written.columns == [*published.columns, "length_adjusted_winrate"]
    assert written[""].to_list() == ["good", "weak", "none"]
    assert written["length_adjusted_winrate"].to_list() == [61.5, None, None]
    assert written["length_controlled_winrate"].to_list() == [None] * 3  # the name is AlpacaEval's estimator's
    write_leaderboard(tmp_path / "none.csv", scores, {})
    assert pl.read_csv(tmp_path / "none.csv").columns == published.columns
    place = place_in_leaderboard(Estimate(50, 40, 60, 3), tmp_path / "l.csv")
    assert (place.rank, place.of, place.unranked) == (2, 3, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"instruction": "i", "output_1": "r", "output_2": "m"}]', r"record 1 has no 'preference'"),
        ('[{"instruction": "i", "output_1": "r", "output_2": "m", "preference": "2"}]', r"preference is '2'"),
        ('[{"instruction": "i", "output_1": null, "output_2": "m", "preference": 2}]', r"output_1 is None"),
        (
            '[{"instruction": "\\ud800", "output_1": "r", "output_2": "m", "preference": 2}]',
            r"whole Unicode characters",
        ),
        ("[", r"is not JSON"),
        ("[]", r"holds nothing"),
        ("[1]", r"record 1: not an object but int"),
    ],
)
def test_bad_annotations_are_refused_with_their_place(tmp_path, content, said):
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(UserError, match=said):
        read_annotations(file)


def test_annotations_of_two_models_are_refused(tmp_path):
    rows = [
        {"instruction": "i", "output_1": "r", "output_2": "m", "preference": 2, "generator_2": name} for name in "ab"
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="several models: a, b"):
        read_annotations(tmp_path / "a.json")


def test_an_unknown_column_suggests_the_nearest(tmp_path):
    (tmp_path / "p.csv").write_text("index,zephyr\n0,2\n1,\n")
    with pytest.raises(UserError, match="did you mean 'zephyr'"):
        read_preference_column(tmp_path / "p.csv", "zepyr")
    assert read_preference_column(tmp_path / "p.csv", "zephyr").table["preference"].to_list() == [2, None]


@pytest.mark.parametrize("read", [read_difficulty, read_leaderboard])
def test_text_among_numbers_is_refused_with_file_and_column(tmp_path, read):
    column = "difficulty" if read is read_difficulty else "win_rate"
    (tmp_path / "f.csv").write_text(f"prompt_id,{column}\na,1.5\nb,\nc,n/a\n")
    with pytest.raises(UserError, match=rf"column '{column}' of '.*f\.csv' holds 'n/a'"):
        read(tmp_path / "f.csv")
    (tmp_path / "f.csv").write_text(f"prompt_id,{column}\na,1.5\nb,\n")
    assert read(tmp_path / "f.csv").to_series(1).to_list() == [1.5, None]


def test_a_leaderboards_nan_is_no_rate_and_its_names_may_be_numbers(tmp_path):
    (tmp_path / "l.csv").write_text("name,win_rate\n1,NaN\n2,40\n")
    assert place_in_leaderboard(Estimate(50, 45, 55, 9), tmp_path / "l.csv") == (1, 2, None, ("2", 40.0), 1, 1, 1)


WEIGHTS = ",np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)\n"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("m,1,,2", r"column 'instruction_difficulty' of '.*w\.csv' has no number for 'm'"),
        ("m,1,NaN,2", r"column 'instruction_difficulty' of '.*w\.csv' has no number for 'm'"),
        ("m,x,1,2", r"column 'np\.tanh\(std_delta_len\)' of '.*w\.csv' holds 'x'"),
        (",1,1,2\n7,1,1,2", r"has no model 'm'"),
        ("7,1,1,2", r"has no model 'm'"),
    ],
)
def test_weights_that_are_no_numbers_are_refused_with_file_and_column(tmp_path, row, said):
    (tmp_path / "w.csv").write_text(f"{WEIGHTS}{row}\n")
    with pytest.raises(UserError, match=said):
        read_weights(tmp_path / "w.csv", "m")


def test_another_models_empty_weight_is_no_hindrance_and_theta_turns_its_sign(tmp_path):
    (tmp_path / "w.csv").write_text(f"{WEIGHTS}other,,x,\nm,0.5,1,2\n")
    assert read_weights(tmp_path / "w.csv", "m") == Weights(-0.5, 1.0, 2.0)


def test_an_index_that_names_two_prompts_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("index,m\n1,2\n2,1\n")
    (tmp_path / "ids.csv").write_text("index,instruction_sha16\n1,aa\n1,bb\n2,cc\n")
    with pytest.raises(UserError, match=r"ids\.csv' names index 1 more than once"):
        read_preference_column(tmp_path / "p.csv", "m", tmp_path / "ids.csv")


def test_prompts_without_the_index_asked_for_are_refused_also_where_theirs_is_text(tmp_path):
    (tmp_path / "p.csv").write_text("index,m\n1,2\n")
    (tmp_path / "ids.csv").write_text("index,instruction_sha16\nx,aa\ny,bb\n")
    with pytest.raises(UserError, match="does not name index 1"):
        read_preference_column(tmp_path / "p.csv", "m", tmp_path / "ids.csv")


@replay
def test_notus_published_figures(expected):
    score = measure(read_annotations(ALPACA / "notus-7b-v1.annotations.json").table)
    for name, value in expected["ae1/notus-7b-v1"].items():
        assert getattr(score, name) == pytest.approx(value, rel=1e-9), name


@replay
@pytest.mark.parametrize("model", ["zephyr-7b-beta", "claude-2", "cohere"])
def test_published_figures_from_preferences(expected, model):
    score = measure(read_preference_column(ALPACA / "preferences_core.csv", model).table)
    wanted = expected[f"ae1/{model}"]
    wanted.pop("avg_length")  # needs the answers, which are not published with the preferences
    for name, value in wanted.items():
        assert getattr(score, name) == pytest.approx(value, rel=1e-9), name


@replay
def test_annotations_and_preferences_meet_by_prompt():
    annotated = read_annotations(ALPACA / "notus-7b-v1.annotations.json").table
    column = read_preference_column(ALPACA / "preferences_core.csv", "notus-7b-v1", ALPACA / "prompts.csv").table
    found = estimates(annotated, column)["difference/alpaca_eval/win_rate"]
    assert (found.value, found.n) == (0, 804)


@replay
def test_zephyrs_published_length_controlled_win_rate(expected):
    weights = read_weights(ALPACA / "lc_weights_length_controlled_v1.csv", "zephyr-7b-beta")
    found = predict_length_controlled(weights, read_difficulty(ALPACA / "prompts.csv")["difficulty"])
    assert found == pytest.approx(expected["lc/zephyr-7b-beta(ae2)"], abs=1e-9)
    assert found == pytest.approx(expected["lc/zephyr-7b-beta published"], abs=1e-6)


@replay
def test_an_unknown_model_of_the_weights_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'zephyr-7b-beta'"):
        read_weights(ALPACA / "lc_weights_length_controlled_v1.csv", "zephyr-7b-betta")


@replay
def test_notus_stands_between_ultralm_and_claude_2():
    preferences = read_annotations(ALPACA / "notus-7b-v1.annotations.json").table
    place = place_in_leaderboard(estimates(preferences)["alpaca_eval/win_rate"], ALPACA / "leaderboard.csv")
    assert place.of == 103  # 102 published models
    assert place.above[0] == "ultralm-13b-best-of-16"
    assert place.below[0] == "claude-2"
    assert place.best < place.rank < place.worst


@replay
def test_stored_preferences_follow_from_the_raw_log_probs(expected):
    wanted = expected["logprob_parser/alpaca-7b"]
    with gzip.open(ALPACA / "judge_logprobs_alpaca-7b.jsonl.gz", "rt") as stream:
        rows = [json.loads(line) for line in stream]
    raw = [row for row in rows if row["top_logprobs"] is not None]
    found = [
        _preference([(top["token"], top["logprob"]) for top in row["top_logprobs"]], row["switched"]) for row in raw
    ]
    assert len(raw) == sum(value is not None for value in found) == wanted["parsed"]
    assert len(rows) - len(raw) == wanted["missing_raw"]
    # the stored ones are rounded to 10 decimals
    same = [abs(value - row["preference"]) < 1e-9 for value, row in zip(found, raw, strict=True)]
    assert sum(same) == wanted["reproduced"]
    for name, switched in (("first", True), ("second", False)):
        stored = [row["preference"] for row in raw if row["switched"] is switched]
        rate = measure(preferred(*stored)).win_rate
        assert rate == pytest.approx(wanted[f"win_rate_candidate_shown_{name}"], abs=1e-9)
    assert sum(row["price_per_example"] or 0 for row in rows) == pytest.approx(wanted["price_usd"], rel=1e-9)
