"""Chat sets: records of any message layout, what is set aside and why, and which conversations are held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.errors import UserError
from notus_exp.feedback.conversations import Chats, read_chats
from support.supervised import chat, chat_recipe, write_chats


def read(folder: Path, lines: list[Any], **changes: Any) -> Chats:
    path = folder / "chats.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return read_chats(chat_recipe(**changes), "digest", [str(path)], folder / "quarantine.jsonl")


def said(chats: Chats) -> list[list[tuple[str, str]]]:
    return [[(turn.role, turn.content) for turn in turns] for turns in chats.train]


def test_conversations_keep_their_turns_and_their_order(tmp_path: Path) -> None:
    system = [{"role": "system", "content": "Be brief."}]
    chats = read(tmp_path, [{"messages": system + chat(0)}, {"messages": chat(1, turns=1)}])
    expected = [[(turn["role"], turn["content"]) for turn in turns] for turns in (system + chat(0), chat(1, turns=1))]
    assert said(chats) == expected
    assert chats.counts == {"records": 2, "bad_records": 0, "unanswered": 0, "repeated": 0, "beyond_max": 0}
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_sharegpts_words_and_a_field_within_another_are_read(tmp_path: Path) -> None:
    line = {"data": {"talk": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Yes."}]}}
    assert said(read(tmp_path, [line], messages="data.talk")) == [[("user", "Hello?"), ("assistant", "Yes.")]]


def test_a_last_question_without_an_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    chats = read(tmp_path, [{"messages": [*chat(0), {"role": "user", "content": "And then?"}]}])
    assert [turn["content"] for turn in chat(0)] == [text for _, text in said(chats)[0]]
    assert chats.counts["unanswered"] == 1


BAD: dict[str, tuple[Any, str, str]] = {
    "no field": ({"text": "x"}, "messages is missing; the record has text", "wrong_field"),
    "no answer": ({"messages": [{"role": "user", "content": "x"}]}, "has no turn of an assistant", "missing_turn"),
    "blank": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " \n"}]},
        "turn 2, assistant's, is blank",
        "blank_turn",
    ),
    "twice": ({"messages": [*chat(0)[:1], *chat(1)]}, "turn of user where assistant's is due", "wrong_field"),
    "role": ({"messages": [{"role": "wizard", "content": "x"}]}, "wizard", "wrong_field"),
    "no list": ({"messages": 7}, "messages", "wrong_field"),
    "no object": ([1, 2], "not an object", "unreadable"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_record_that_is_no_conversation_is_set_aside_with_its_reason(tmp_path: Path, name: str) -> None:
    record, reason, rule = BAD[name]
    chats = read(tmp_path, [{"messages": chat(0)}, record], max_bad_rows=1)
    assert len(chats.train) == 1
    assert (chats.counts["bad_records"], chats.counts[f"quarantined/{rule}"]) == (1, 1)
    (line,) = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert reason in kept["reason"]
    assert (kept["line"], kept["rule"]) == (2, rule)


def test_more_of_them_than_are_tolerated_end_the_run_and_say_how_to_go_on(tmp_path: Path) -> None:
    lines = [{"messages": chat(0)}, *[record for record, _, _ in BAD.values()]]
    with pytest.raises(UserError, match=r"7 malformed records, sft.max_bad_rows is 0: chats.jsonl:2") as caught:
        read(tmp_path, lines)
    assert "sft.max_bad_rows=7" in caught.value.hint
    assert str(tmp_path / "quarantine.jsonl") in caught.value.hint
    with pytest.raises(UserError) as caught:
        read(tmp_path, [{"dialog": chat(0)}])
    assert "sft.messages=messages" in caught.value.hint


def test_each_conversation_counts_once_and_as_many_as_are_asked_for(tmp_path: Path) -> None:
    lines = [{"messages": chat(number)} for number in (0, 1, 2, 3, 1)]
    chats = read(tmp_path, lines)
    assert (len(chats.train), chats.counts["repeated"]) == (4, 1)
    two = read(tmp_path, lines, max_conversations=2)
    assert (len(two.train), two.counts["beyond_max"]) == (2, 2)
    assert [turns for turns in chats.train if turns in two.train] == two.train, "in their own order"
    assert {*read(tmp_path, lines[::-1], max_conversations=2).train} == {*two.train}, "in any order of the records"


def test_what_is_held_out_shares_no_first_question_with_what_is_learnt(tmp_path: Path) -> None:
    lines = [{"messages": chat(number)[:2] + chat(number + more, 1)} for number in range(40) for more in (0, 1)]
    chats = read(tmp_path, lines, validation=0.3)
    train, validation = ({turns[0].content for turns in part} for part in (chats.train, chats.validation))
    assert not train & validation
    assert 5 <= len(validation) <= 20
    assert read(tmp_path, lines, validation=0.3, seed=4).validation != chats.validation


def test_a_set_without_a_conversation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no conversation is left to train on"):
        read(tmp_path, [])
    path = write_chats(tmp_path / "one.jsonl", [chat(0)])
    assert len(read_chats(chat_recipe(), "digest", [str(path)], tmp_path / "quarantine.jsonl").train) == 1
