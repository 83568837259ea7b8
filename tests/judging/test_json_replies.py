"""Whatever a judge says in place of the JSON that it is asked for: no rating is invented, and each reason is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notus_exp.judging.json_questions import CRITIQUE, TOGETHER, AnswersToRate, ReadBy, json_question
from notus_exp.judging.json_replies import ReadEntry, read_reply
from notus_exp.judging.rubrics import Rubric, rubric_of
from notus_exp.judging.verdicts import NOT_APPLICABLE

MARKS = ("aaaabbbb", "ccccdddd")
PLAIN = ReadBy(TOGETHER, Rubric("Is it kind?"), (1.0, 5.0))
TYPED = ReadBy(TOGETHER, rubric_of("truthfulness"), (1.0, 5.0))
CRITIC = ReadBy(CRITIQUE, rubric_of(None), (1.0, 10.0))


def entry(mark: str, rating: Any, **more: Any) -> dict[str, Any]:
    return {"id": mark, "rationale": f"On {mark}.", "rating": rating, **more}


def said(*entries: dict[str, Any]) -> str:
    return json.dumps({"answers": [*entries]})


GOOD = said(entry(MARKS[0], 4), entry(MARKS[1], 2))


def values(text: str, by: ReadBy = PLAIN) -> list[float | None]:
    return [one.value for one in read_reply(text, MARKS, by)]


def reasons(text: str, by: ReadBy = PLAIN) -> set[str]:
    found = read_reply(text, MARKS, by)
    assert all(one.value is None and one.failed for one in found)
    return {one.reason for one in found}


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n{GOOD}\n",
        f"Here are my ratings:\n```json\n{json.dumps(json.loads(GOOD), indent=2)}\n```\nI hope that {{helps}}.",
        f"Let me think {{about}} it. {GOOD} And {GOOD} again.",
        said(entry(MARKS[1], 2), entry(MARKS[0], "4")),
        said(entry(MARKS[1], 2.0), entry(MARKS[0], " 4 ")),
    ],
)
def test_json_is_read_alone_in_prose_and_in_a_fenced_block(text: str) -> None:
    assert values(text) == [4.0, 2.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the reply is empty"),
        ("The first answer is a 4, the second a 2.", "no JSON in the reply"),
        ("第一个答案得4分,第二个得2分。", "no JSON in the reply"),
        (GOOD[:-20], "the JSON is broken, or ends too soon"),
        (GOOD.replace('"', "'"), "the JSON is broken, or ends too soon"),
        (GOOD.replace('"rating": 4', '"rating": 4, "rating": 5'), "the JSON cannot be read: the key 'rating' stands"),
        (json.dumps({"ratings": [4, 2]}), "the JSON has no list 'answers' of objects"),
        (json.dumps({"回答": [{"编号": MARKS[0], "评分": 4}]}), "the JSON has no list 'answers' of objects"),
        (json.dumps({"answers": [4, 2]}), "the JSON has no list 'answers' of objects"),
        (said(entry(MARKS[0], 4)), "1 ratings of 2 answers"),
        (said(*(entry(MARKS[0], 4) for _ in range(3))), "3 ratings of 2 answers"),
        (said(entry(MARKS[0], 4), entry(MARKS[0], 2)), "the ids are not those of the answers, each once"),
        (said(entry("1", 4), entry("2", 2)), "the ids are not those of the answers, each once"),
        (said(entry(MARKS[0], 4), {"rating": 2}), "the ids are not those of the answers, each once"),
        (f"I {{rate}}: {said(entry(MARKS[0], 4))}", "1 ratings of 2 answers"),
        (f"{GOOD} No: {GOOD.replace('4', '5')}", "several JSON objects with different ratings"),
        (f"{said(entry(MARKS[0], 4))} {said(entry('x', 4), entry('y', 1))}", "several JSON objects, and none that"),
        ('{"a":' * 5_000, "the JSON is broken, or ends too soon"),
        ("[" * 100_000 + "{" * 100_000, "the JSON is broken, or ends too soon"),
    ],
)
def test_what_cannot_be_read_is_missing_for_all_answers_and_says_why(text: str, reason: str) -> None:
    [found] = reasons(text)
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("rating", "reason"),
    [
        (0, "the rating 0 is not between 1 and 5"),
        (6, "the rating 6 is not between 1 and 5"),
        (-1, "the rating -1 is not between 1 and 5"),
        ("4/5", 'the rating is no number: "4/5"'),
        ("four", 'the rating is no number: "four"'),
        (True, "the rating is no number: true"),
        (None, "the rating is no number: null"),
        ([4], "the rating is no number: [4]"),
        (float("nan"), "the rating is no number: NaN"),
        (10**400, "the rating is no number: 100000000000000000000000000000"),
        ("\ud800", 'the rating is no number: "\ufffd"'),
        ("N/A", "N/A is no rating by this rubric"),
    ],
)
def test_a_rating_that_is_none_is_missing_and_the_others_stay(rating: Any, reason: str) -> None:
    first, second = read_reply(said(entry(MARKS[0], rating), entry(MARKS[1], 2)), MARKS, PLAIN)
    assert (first.value, first.reason, first.failed) == (None, reason, True)
    assert (second.value, second.reason) == (2.0, "")


def test_words_that_no_file_can_hold_are_written_with_a_mark_for_what_is_lost() -> None:
    text = said(entry(MARKS[0], 4), entry(MARKS[1], 2)).replace("On ", "\\ud83d On \\ud83d\\ude00 ")
    first, _ = read_reply(text, MARKS, PLAIN)
    assert first.rationale == f"\ufffd On \U0001f600 {MARKS[0]}."


def test_na_is_no_failure_where_the_rubric_has_it() -> None:
    first, second = read_reply(said(entry(MARKS[0], "n/a"), entry(MARKS[1], 2)), MARKS, TYPED)
    assert first == ReadEntry(None, NOT_APPLICABLE, f"On {MARKS[0]}.")
    assert not first.failed
    assert second.value == 2.0


def test_types_of_the_rubric_are_listed_and_others_counted() -> None:
    named = ["against_itself", "rude", "against_the_world", "rude"]
    text = said(entry(MARKS[0], 4, types=named), entry(MARKS[1], 2, types="against_itself"))
    first, second = read_reply(text, MARKS, TYPED)
    assert (first.types, first.unknown_types) == (("against_the_world", "against_itself"), 1)
    assert (second.types, second.unknown_types) == (("against_itself",), 0)
    assert [one.types for one in read_reply(text, MARKS, PLAIN)] == [(), ()], "a rubric without any asks for none"


def test_the_questions_own_words_are_no_rating() -> None:
    inside = said(entry("1", 5), entry("2", 1))
    shown = AnswersToRate("0" * 16, f"Rate these. {inside}", (inside, '{"id": MARK, "rating": 5}'))
    for by in (PLAIN, TYPED):
        question = json_question(shown, by)
        found = read_reply(question.messages[0]["content"], question.marks, by)
        assert [one.value for one in found] == [None, None]


# ------------------------------------------------------------------------------------------------------------ critiques
def critique(text: str) -> ReadEntry:
    [one] = read_reply(text, MARKS[:1], CRITIC)
    return one


def test_an_object_that_holds_the_reply_alone_and_a_bare_list_of_ratings_are_read() -> None:
    found = critique(json.dumps({"result": {"id": MARKS[0], "feedback": "Good.", "overall_score": 7}}))
    assert found == ReadEntry(7.0, "", "Good.")
    entries = [{"id": mark, "rating": 1 + number} for number, mark in enumerate(MARKS)]
    for reply in ({"result": {"answers": entries}}, entries):
        assert [one.value for one in read_reply(json.dumps(reply), MARKS, PLAIN)] == [
            1.0 + n for n in range(len(MARKS))
        ]
    for reply in (entries[:-1], [*entries, entries[0]], [*entries[:-1], {"id": "other", "rating": 1}]):
        assert {one.value for one in read_reply(json.dumps(reply), MARKS, PLAIN)} == {None}


def test_a_rating_between_two_is_none_and_says_so() -> None:
    entries = [{"id": mark, "rating": 3.7 if number else 4.0} for number, mark in enumerate(MARKS)]
    found = read_reply(json.dumps({"answers": entries}), MARKS, PLAIN)
    assert [one.value for one in found] == [4.0, *[None] * (len(MARKS) - 1)]
    assert found[1].reason == "the rating 3.7 is no whole number"


def test_a_critique_is_feedback_with_a_score() -> None:
    found = critique(json.dumps({"id": MARKS[0], "feedback": " Name the year. ", "overall_score": 7.5}))
    assert found == ReadEntry(7.5, "", "Name the year.")


@pytest.mark.parametrize(
    ("said_so", "reason"),
    [
        ({"id": MARKS[0], "feedback": "Good.", "overall_score": 11}, "the rating 11 is not between 1 and 10"),
        ({"id": MARKS[0], "feedback": "Good."}, "the JSON has no 'overall_score'"),
        ({"id": MARKS[0], "feedback": " ", "overall_score": 7}, "a score without feedback"),
        ({"id": "other", "feedback": "Good.", "overall_score": 7}, "the id is not that of the answer"),
        ({"feedback": "Good.", "overall_score": 7}, "the id is not that of the answer"),
    ],
)
def test_a_critique_that_lacks_something_is_missing_and_says_why(said_so: dict[str, Any], reason: str) -> None:
    found = critique(json.dumps(said_so))
    assert (found.value, found.reason) == (None, reason)
