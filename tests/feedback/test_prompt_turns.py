"""A prompt as a model is given it."""

from __future__ import annotations

import polars as pl

from notus_exp.feedback.prompt_turns import TURNS, as_read, prompt_columns, prompt_turns

EARLIER = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
LAST = {"role": "user", "content": "c"}
SYSTEM = {"role": "system", "content": "be kind"}


def rows(**columns: list[object]) -> pl.DataFrame:
    kinds = {"context": TURNS} if "context" in columns else {}
    return pl.DataFrame({"instruction": ["c"] * 2, **columns}, schema_overrides=kinds)


def test_earlier_turns_stand_between_the_system_turn_and_the_message() -> None:
    told = {"principle": ["conversation", "honesty"], "system_prompt": ["be kind", "be honest"]}
    assert prompt_turns(rows(**told, context=[EARLIER, []])).to_list() == [[SYSTEM, *EARLIER, LAST], [LAST]]
    assert prompt_turns(rows(**told)).to_list() == [[SYSTEM, LAST], [LAST]]


def test_an_empty_system_turn_is_not_shown() -> None:
    told = {"principle": ["conversation", ""], "system_prompt": ["", ""]}
    assert prompt_turns(rows(**told, context=[EARLIER, EARLIER])).to_list() == [[*EARLIER, LAST]] * 2


def test_a_column_of_turns_is_read_only_where_there_is_one() -> None:
    told = ["instruction", "principle", "system_prompt"]
    assert prompt_columns(["response", *told]) == told
    assert prompt_columns([*told, "context"]) == [*told, "context"]


def test_a_conversation_is_read_with_its_roles_and_a_message_as_it_is() -> None:
    assert as_read([LAST], 10) == "c"
    assert as_read([*EARLIER, {"role": "user", "content": "c" * 20}], 4) == "[user] a\n\n[assistant] b\n\n[user] ccc…"
