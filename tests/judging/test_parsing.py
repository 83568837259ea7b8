import gzip
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.chat.messages import Reply
from notus_exp.judging.parsing import parse_comparison, parse_grading, parse_logprobs, parse_rating
from support.places import REPLAY

replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")


def said(text="", top=None, finish="stop"):
    return Reply(text, top, "judge", 10, 1, finish)


@pytest.mark.parametrize(
    ("text", "value"), [("m", 1), ("M", 2), (" M\n", 2), ("'m'.", 1), ("**M**", 2), ("_m_", 1), ("(m)", 1)]
)
def test_ranking_reads_the_one_token(text, value):
    assert parse_comparison(said(text), "ranking") == (value, "")


@pytest.mark.parametrize("text", ["mM", "m M", "I'm sure", "The best is 5 m long", "Mm", "A", "model M", "m\n\nM", "2"])
def test_ranking_guesses_nothing_from_other_words(text):
    parsed = parse_comparison(said(text), "ranking")
    assert parsed.value is None
    assert "not the one token" in parsed.reason


@pytest.mark.parametrize(
    ("text", "value"), [("[[A]]", 1), ("so: [[B]].", 2), ("Both fail. [[C]]", 1.5), ("[[A]] yes, [[A]]", 1)]
)
def test_letters_are_read_in_double_brackets(text, value):
    assert parse_comparison(said(text), "letters") == (value, "")


@pytest.mark.parametrize("text", ["[[A]] or [[B]]", "[[A]] [[C]]", "A", "[A]", "[[a]]", "[[D]]", "[[A"])
def test_different_letters_and_none_are_failures(text):
    parsed = parse_comparison(said(text), "letters")
    assert parsed.value is None
    assert parsed.reason


@pytest.mark.parametrize("parser", ["ranking", "letters"])
def test_an_empty_reply_is_a_failure_that_says_so(parser):
    assert parse_comparison(said(" \n"), parser) == (None, "the reply is empty")
    assert parse_grading(said("")) == (None, "the reply is empty")


def test_a_failure_says_that_the_reply_was_cut():
    assert "cut at max_tokens" in parse_comparison(said("The first", finish="length"), "letters").reason
    assert "cut at max_tokens" in parse_grading(said("It is", finish="length")).reason


def test_logprobs_by_hand():
    # p(m) = 0.3, p(M) = 0.1: 2 - 0.3 / 0.4 = 1.25
    top = [("m", math.log(0.3)), ("x", math.log(0.2)), ("M", math.log(0.1))]
    assert parse_comparison(said("m", top), "logprobs").value == pytest.approx(1.25, abs=1e-12)


def test_a_missing_token_counts_as_the_least_likely_shown():
    # M is at most as likely as x: 2 - 0.8 / (0.8 + 0.05)
    top = [("m", math.log(0.8)), ("The", math.log(0.1)), ("x", math.log(0.05))]
    assert parse_logprobs(top).value == pytest.approx(2 - 0.8 / 0.85, abs=1e-12)


@pytest.mark.parametrize("top", [None, [], [("A", -0.1), (" m", -3.0)], [("m", math.nan), ("M", -1.0)]])
def test_logprobs_without_either_token_are_a_failure(top):
    assert parse_logprobs(top).value is None
    assert parse_logprobs(top).reason


@given(st.floats(-800, 0), st.floats(-800, 0))
def test_swapped_logprobs_mirror_the_verdict(a, b):
    one, other = parse_logprobs([("m", a), ("M", b)]).value, parse_logprobs([("m", b), ("M", a)]).value
    assert 1 <= one <= 2
    assert one + other == pytest.approx(3, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Rating: [[8]]", 8),
        ("[[8.5]]", 8.5),
        ("[[ 10 ]]", 10),
        ("[[1]]", 1),
        ("see [3]. [[7]]", 7),
        ("Rating: [6]", 6),
        ("[[9]] ... I said [[9]]", 9),
    ],
)
def test_ratings_are_read_in_double_brackets_then_in_single_ones(text, value):
    assert parse_rating(text) == (value, "")


@pytest.mark.parametrize(
    "text",
    ["8", "Rating: 8/10", "[[0]]", "[[11]]", "[[-3]]", "[[rating]]", "[[8/10]]", "[[8]] or [[9]]", "[1] and [2]", ""],
)
def test_anything_else_is_no_rating(text):
    parsed = parse_rating(text)
    assert parsed.value is None
    assert parsed.reason


@given(st.text(alphabet="mMABC[]0189. \n", max_size=12))
def test_a_parser_gives_either_a_value_in_range_or_a_reason(text):
    for parser in ("ranking", "letters"):
        parsed = parse_comparison(said(text), parser)
        assert (parsed.value in (1, 1.5, 2)) != bool(parsed.reason)
    rating = parse_rating(text)
    assert (rating.value is not None and 1 <= rating.value <= 10) != bool(rating.reason)


@replay
def test_802_published_log_prob_verdicts_come_out_the_same():
    path = REPLAY / "alpaca_eval/judge_logprobs_alpaca-7b.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    judged = [row for row in rows if row["top_logprobs"]]
    assert (len(rows), len(judged)) == (805, 802)
    for row in judged:
        place = parse_logprobs([(top["token"], top["logprob"]) for top in row["top_logprobs"]]).value
        assert (3 - place if row["switched"] else place) == pytest.approx(row["preference"], abs=1e-9)


@replay
def test_800_published_ratings_are_parsed_to_the_stored_score():
    path = REPLAY / "mt_bench/alvarobartt_single.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 800
    for row in rows:
        value = parse_rating(row["judgment"]).value
        assert (-1 if value is None else value) == row["score"]
