"""Prompts of several turns: what is the same prompt, what contaminates it, and what its pair shows."""

from __future__ import annotations

import pytest

from notus_exp.config.curation_settings import Contamination, Split
from notus_exp.curation.page import render, summarise
from notus_exp.curation.pairs import curate
from notus_exp.curation.split import assign, held_out_prompts
from notus_exp.disk.hashing import prompt_id
from support.curation_tables import completion, prompt, settings, table

GOOD = (completion("a", 2, 2), completion("b", 1, 1))
EARLIER = (("user", "Hello there, old friend"), ("assistant", "How may I help you now"))


def test_a_pairs_prompt_has_all_turns_in_their_order() -> None:
    pairs = curate(table(prompt("last", *GOOD, context=EARLIER), prompt("alone", *GOOD)), settings()).pairs
    said = [[(turn["role"], turn["content"]) for turn in turns] for turns in pairs["prompt"].to_list()]
    assert said == [[*EARLIER, ("user", "last")], [("user", "alone")]]
    told = {"principle": "conversation", "system_prompt": "Be brief."}
    pairs = curate(table(prompt("last", *GOOD, context=EARLIER, **told)), settings()).pairs
    assert [turn["role"] for turn in pairs["prompt"][0]] == ["system", "user", "assistant", "user"]
    assert pairs["chosen"].to_list() == [[{"role": "assistant", "content": "a"}]]


@pytest.mark.parametrize(
    ("context", "repeated"),
    [
        (EARLIER, 1),
        ((("user", " Hello  there,\nold friend"), EARLIER[1]), 1),
        ((("user", "Hello there, old enemy"), EARLIER[1]), 0),
        ((EARLIER[0], ("assistant", "no")), 0),
        ((), 0),
    ],
)
def test_the_same_last_message_is_the_same_prompt_only_after_the_same_turns(
    context: tuple[tuple[str, str], ...], repeated: int
) -> None:
    both = table(prompt("last", *GOOD, context=EARLIER), prompt("last ", *GOOD, context=context))
    counts = curate(both, settings(duplicate_prompts=True)).counts
    assert counts["prompts_dropped"]["duplicate_prompt"] == repeated


@pytest.mark.parametrize(
    ("benchmark", "left_out"),
    [
        ("the last message of it", 1),
        ("Hello there, old friend", 1),
        ("How may I help you now", 0),  # an answer is no prompt of a benchmark
    ],
)
def test_any_message_of_the_user_can_be_a_benchmarks(benchmark: str, left_out: int) -> None:
    frame = table(prompt("the last message of it", *GOOD, context=EARLIER), prompt("of another matter", *GOOD))
    rules = settings(contamination=Contamination([], None, 3, 0.5))
    assert curate(frame, rules, [benchmark]).counts["prompts_dropped"]["contaminated"] == left_out


def test_conversations_that_fold_to_the_same_are_of_one_split_and_held_out_once() -> None:
    split = Split(1, 0.2, 0.3)
    asked = [f"number {number}" for number in range(60)]
    written = [((("user", text), EARLIER[1]), end) for text in ("Hi there", " Hi  there") for end in ("", "\n")]
    frame = table(*(prompt(one + end, *GOOD, context=context) for one in asked for context, end in written))
    pairs = curate(frame, settings(split=split)).pairs
    ids = {one: prompt_id(one, (("user", "Hi there"), EARLIER[1])) for one in asked}
    expected = dict(zip(asked, assign(ids.values(), split), strict=True))
    assert {(row["prompt"][-1]["content"].strip(), row["split"]) for row in pairs.iter_rows(named=True)} == {
        *expected.items()
    }
    held_out = held_out_prompts(frame, split, "test", None)
    assert set(held_out) == {ids[one] for one in asked if expected[one] == "test"}


def test_the_page_shows_the_turns() -> None:
    differ = (completion("a", 5, 4, overall=3), completion("b", 2, 2, overall=8))
    frame = table(prompt("last", *differ, context=EARLIER))
    curated = curate(frame, settings())
    page = render(summarise(frame, settings(), curated, (), {"records": 1}))
    assert "[user] Hello there, old friend\n\n[assistant] How may I help you now\n\n[user] last" in page
