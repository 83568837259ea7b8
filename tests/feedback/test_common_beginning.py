"""Prompts that are the common beginning of texts."""

from __future__ import annotations

import pytest

from notus_exp.feedback.common_beginning import common_beginning
from notus_exp.feedback.lifting import lift
from notus_exp.feedback.table import RowError
from support.layouts import SIDES, layout

NAMES = "chosen and rejected"


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("The sky is", " blue.", " green."),  # TRL's own example of the format
        ("Which river?", " GOOD one", " BAD one"),
        ("Which river?\n", "The Ucayali.", "A lake."),
        ("Which river? ", " x", " y"),  # one space is the answers'
        ("Which river?", " x", "\ny"),
        ("Which river?", " Good", " Great"),  # TRL cuts these two within the word
        ("Which river?", " Yes it is", " Yesterday it was"),
        ("Which river?\n\nOne.\n", "alone", "alive"),
    ],
)
def test_the_prompt_ends_before_the_first_word_that_differs(prompt: str, chosen: str, rejected: str) -> None:
    assert common_beginning([prompt + chosen, prompt + rejected], NAMES) == prompt
    assert common_beginning([prompt + rejected, prompt + chosen, prompt + chosen], NAMES) == prompt


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("One.", "Two."), "do not begin with the same words"),
        ((" One.", " Two."), "do not begin with the same words"),
        (("Good", "Great"), "do not begin with the same words"),
        (("Which river?", "Which river? x"), "one is the beginning of the other"),
        (("Which river? x",) * 2, "one is the beginning of the other"),
        (("", "x"), "one is the beginning of the other"),
        (("\n\nHuman: q\n\nAssistant: x", "\n\nHuman: q\n\nAssistant: y"), "are transcripts: data.mapping.speakers"),
    ],
)
def test_what_is_no_certain_prompt_is_none(texts: tuple[str, str], reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        common_beginning(texts, NAMES)


def test_a_record_without_a_prompt_has_the_common_beginning_of_its_texts() -> None:
    texts = {"chosen": "Which river? x", "rejected": "Which river? y"}
    found = lift(texts, layout(*SIDES, common_beginning=True))
    assert (found.user, found.context, found.system, found.from_texts) == ("Which river?", (), None, True)
    assert [(one.text, one.score) for one in found.answers] == [(" x", 1.0), (" y", 0.0)]
    found = lift(texts | {"prompt": "q"}, layout(*SIDES, common_beginning=True))
    assert (found.user, found.answers[0].text, found.from_texts) == ("q", "Which river? x", False)


@pytest.mark.parametrize(
    ("others", "allowed"),
    [
        ({}, False),
        ({"prompt": None}, True),
        ({"rejected": {"role": "assistant", "content": "Which river? y"}}, True),
        ({"rejected": [{"type": "text", "text": "Which river? y"}]}, True),
    ],
)
def test_a_prompt_that_is_null_is_missing_and_only_texts_have_a_common_beginning(others: dict, allowed: bool) -> None:
    record = {"chosen": "Which river? x", "rejected": "Which river? y"} | others
    with pytest.raises(RowError, match="there is no prompt"):
        lift(record, layout(*SIDES, common_beginning=allowed))
