import json
import math

import polars as pl
import pytest

from notus_exp.errors import UserError
from notus_exp.evaluation.mt_bench.ratings import (
    duplicates,
    estimates,
    measure,
    paired,
    published_rating,
    radar,
    read_expected_turns,
    read_judgments,
)
from support.places import REPLAY

MT_BENCH = REPLAY / "mt_bench"
replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")
EXPECTED = pl.DataFrame({"question_id": [1, 1, 2, 2], "turn": [1, 2, 1, 2], "category": ["math"] * 2 + ["coding"] * 2})


@pytest.fixture(scope="module")
def expected():
    return json.loads((REPLAY / "expected.json").read_text())


def judged(*rows: tuple[int, int, float | None], model: str = "m") -> pl.DataFrame:
    schema = {"question_id": pl.Int64, "turn": pl.Int64, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(model=pl.lit(model))


@pytest.mark.parametrize(
    ("judgment", "rating"),
    [
        ("Good. Rating: [[8]]", 8),
        ("Rating: [[7.5]], out of [10]", 7.5),
        ("[3] sources; Rating: [[4]]", 4),  # double brackets first, wherever they are
        ("Rating: [6]", 6),
        ("Rating: 6", None),
        ("Rating: [[A]]", None),
        ("", None),
    ],
)
def test_a_rating_stands_in_double_brackets_else_in_single_ones(judgment, rating):
    assert published_rating(judgment) == rating


def test_means_by_turn_and_category_by_hand():
    ratings = measure(judged((1, 1, 8), (1, 2, 6), (2, 1, 4), (2, 2, 2)), EXPECTED)
    assert list(ratings) == ["score", "turn_1", "turn_2", "category/math", "category/coding"]
    means = {name: rating.estimate.value for name, rating in ratings.items()}
    assert means == {"score": 5, "turn_1": 6, "turn_2": 4, "category/math": 7, "category/coding": 3}
    # residual sums by question 4 and -4: sqrt(32) / 4; a turn alone has sd(ddof=0) / sqrt(2) of 8 and 4
    assert ratings["score"].standard_error == pytest.approx(math.sqrt(32) / 4)
    assert ratings["turn_1"].standard_error == pytest.approx(2 / math.sqrt(2))
    assert ratings["score"].estimate.n == 2


def test_failures_are_left_out_of_the_mean_and_stand_beside_it():
    rating = measure(judged((1, 1, 8), (1, 2, -1), (2, 1, None), (2, 2, math.nan)), EXPECTED)["score"]
    assert rating.estimate.value == 8
    assert (rating.judged, rating.failed, rating.off_scale, rating.expected) == (1, 3, 0, 4)
    assert rating.coverage == 0.25


def test_a_rating_off_the_scale_stays_in_the_mean_and_is_counted():
    rating = measure(judged((1, 1, 8), (1, 2, 0)), EXPECTED)["score"]
    assert (rating.estimate.value, rating.judged, rating.off_scale) == (4, 2, 1)


def test_a_turn_never_judged_lowers_the_coverage_but_is_no_failure():
    ratings = measure(judged((1, 1, 8), (2, 1, 4)), EXPECTED)
    assert (ratings["score"].failed, ratings["score"].coverage) == (0, 0.5)
    assert (ratings["turn_2"].judged, ratings["turn_2"].coverage) == (0, 0)
    assert math.isnan(ratings["turn_2"].estimate.value)


def test_without_questions_what_was_judged_is_expected():
    ratings = measure(judged((1, 1, 8), (2, 1, -1)))
    assert list(ratings) == ["score", "turn_1"]
    assert ratings["score"].coverage == 0.5


def test_a_turn_judged_twice_is_refused_with_the_models_name():
    twice = judged((1, 1, 8), (1, 1, 9), (2, 1, 4), model="doubled")
    assert duplicates(pl.concat([twice, judged((1, 1, 3))])) == {"doubled": 1}
    with pytest.raises(
        UserError, match=r"model 'doubled' is judged more than once on 1 turns, first question 1, turn 1"
    ):
        measure(twice, EXPECTED)


def test_a_question_that_nobody_asked_is_refused():
    with pytest.raises(UserError, match="question 9, turn 1 was judged but is not among the expected"):
        measure(judged((9, 1, 8)), EXPECTED)


def test_base_and_policy_are_paired_by_question_and_turn():
    policy = judged((1, 1, 8), (1, 2, 6), (2, 1, 4), (2, 2, -1))
    base = judged((2, 2, 1), (2, 1, 3), (1, 2, 6), (1, 1, 5))
    found = estimates(policy, EXPECTED, base)
    assert found["mt_bench/score"].value == 6
    assert found["mt_bench/coverage"].value == 0.75
    assert found["base/mt_bench/score"].value == 3.75
    # differences 3, 0 of question 1 and 1 of question 2
    assert found["difference/mt_bench/score"][::3] == (pytest.approx(4 / 3), 2)
    assert found["difference/mt_bench/turn_1"].value == 2
    assert found["difference/mt_bench/turn_2"].value == 0


def test_pairs_leave_out_and_count_turns_without_both_ratings():
    table = pl.concat(
        [judged((1, 1, 8), (2, 1, 4), (3, 1, -1)), judged((1, 1, 5), (2, 1, 4), (4, 1, 9), model="other")]
    )
    found = paired(table, "m", "other")
    assert (found.n, found.left_out, found.difference) == (2, 2, 1.5)
    with pytest.raises(UserError, match=r"no judgments of the model 'othre'\n  did you mean 'other'"):
        paired(table, "m", "othre")


@pytest.mark.parametrize(("kind", "head"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_radar_plot_is_a_picture_and_the_same_each_time(kind, head):
    ratings = {"m": measure(judged((1, 1, 8), (2, 1, 4)), EXPECTED)}
    picture = radar(ratings, kind)
    assert picture.startswith(head)
    assert radar(ratings, kind) == picture
    if kind == "svg":
        assert b"<!-- coding -->" in picture
        assert b"<!-- m -->" in picture
        assert b"<dc:date>" not in picture


def test_a_radar_plot_needs_categories():
    with pytest.raises(UserError, match="no categories"):
        radar({"m": measure(judged((1, 1, 8)))})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"model": "m", "question_id": 1, "turn": 1}', "has no 'score'"),
        ('{"model": "m", "question_id": "x", "turn": 1, "score": 2}', "question_id is 'x'"),
        ('{"model": "m", "question_id": 1, "turn": 1, "score": "8"}', "score is '8'"),
        ('{"model": null, "question_id": 1, "turn": 1, "score": 8}', "model is None"),
        ('{"model": "m", "question_id": 1e30, "turn": 1, "score": 8}', "question_id is 1e"),
        ("{", "record 1: not JSON"),
    ],
)
def test_bad_judgments_are_refused_with_their_place(tmp_path, line, said):
    (tmp_path / "j.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=said):
        read_judgments(tmp_path / "j.jsonl")


@replay
@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("alvarobartt", "mistral-orpo-mix"),
        ("alvarobartt", "mistral-orpo-capybara"),
        ("alvarobartt", "mistral-orpo-trl"),
        ("instructlab", "granite-7b-lab"),
    ],
)
def test_published_ratings(expected, file, model):
    wanted = expected[f"mtb/{file}/{model}"]
    table = read_judgments(MT_BENCH / f"{file}_single.jsonl").filter(pl.col("model") == model)
    ratings = measure(table, read_expected_turns(MT_BENCH / "question.jsonl"))
    score = ratings["score"]
    assert score.estimate.value == pytest.approx(wanted["average_over_judgments"], rel=1e-9)
    assert ratings["turn_1"].estimate.value == pytest.approx(wanted["turn1"], rel=1e-9)
    assert ratings["turn_2"].estimate.value == pytest.approx(wanted["turn2"], rel=1e-9)
    assert (table.height, score.failed, len(duplicates(table))) == (
        wanted["rows"],
        wanted["failed"],
        wanted["duplicates"],
    )
    assert score.coverage == (wanted["rows"] - wanted["failed"]) / 160
    assert score.off_scale == (2 if model == "granite-7b-lab" else 0)  # "majority = array[0]" in the judge's text
    assert len(ratings) == 1 + 2 + 8


@replay
def test_the_double_judged_model_is_named():
    table = read_judgments(MT_BENCH / "alvarobartt_single.jsonl")
    assert duplicates(table) == {"mistral-orpo": 160}
    with pytest.raises(UserError, match="model 'mistral-orpo' is judged more than once on 160 turns"):
        measure(table.filter(pl.col("model") == "mistral-orpo"))


@replay
def test_published_ratings_follow_from_the_judgments_text(expected):
    table = read_judgments(MT_BENCH / "alvarobartt_single.jsonl")
    parsed = [-1 if (rating := published_rating(text)) is None else rating for text in table["judgment"]]
    same = [rating == score for rating, score in zip(parsed, table["score"], strict=True)]
    assert [sum(same), len(same)] == expected["mtb/alvarobartt/reparsed_equal"]


@replay
def test_published_pair(expected):
    wanted = expected["mtb_paired/mistral-orpo-trl__mistral-orpo-mix"]
    found = paired(read_judgments(MT_BENCH / "alvarobartt_single.jsonl"), "mistral-orpo-trl", "mistral-orpo-mix")
    assert (found.n, found.left_out) == (wanted["n"], 0)
    assert found.difference == pytest.approx(wanted["diff"], rel=1e-9)
    assert found.standard_error == pytest.approx(wanted["se_cluster_question"], rel=1e-9)
