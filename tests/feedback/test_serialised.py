"""Conversations that a table of texts holds as JSON or as Python writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from notus_exp.config.data_settings import FileData, Mapped
from notus_exp.feedback import mapped
from notus_exp.feedback.lifting import lift
from notus_exp.feedback.one_source import READERS
from notus_exp.feedback.records import read_files
from notus_exp.feedback.serialised import MESSAGES_AS_TEXT, holds_messages
from notus_exp.feedback.table import RowError
from support.configs import composed
from support.layouts import SIDES, layout

ASKED = {"role": "user", "content": "Name a river in Peru."}
SAID = {"role": "assistant", "content": 'It\'s the "Ucayali"\n{or} {so}.'}
PARTS = {"role": "user", "content": np.array([{"type": "text", "text": "Hi."}, {"type": "text", "text": "x" * 99}])}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([SAID]),
        json.dumps(SAID, indent=2),
        f"  {json.dumps([ASKED, SAID])}\n",
        repr([ASKED, SAID]),
        repr(SAID),
        str(np.array([ASKED, SAID])),
        repr(np.array([ASKED, SAID])),
        str(np.array([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])),
        str(np.array([PARTS, SAID])),
        json.dumps([{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]),
        json.dumps([{"from": "Human", "value": "Hi."}, {"from": "expert", "value": "Hello."}]),
        json.dumps({"role": "assistant", "content": None, "tool_calls": []}),
        json.dumps([{"type": "text", "text": "Hi."}]),
    ],
)
def test_a_message_and_messages_are_known_in_each_way_that_they_are_written(text: str) -> None:
    assert holds_messages(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[",
        "{}",
        "[]",
        "[{}]",
        "The Ucayali.",
        "[1, 2, 3]",
        '["user", "assistant"]',
        '[{"name": "Ucayali", "role": "river"}]',
        '[{"role": "engineer", "content": "builds"}, {"role": "manager", "content": "plans"}]',
        '{"from": "Lima", "value": 3}',
        '{"role": "user", "content": 3}',
        '{"type": "text", "text": "a block"}',
        f"As JSON: {json.dumps([SAID])}",
        f"{json.dumps([SAID])} is the message.",
        f"{json.dumps([SAID])} {json.dumps([SAID])}",
        json.dumps([SAID])[:-2],
        "{% for message in messages %}{{ message['role'] }}{% endfor %}",
        "[{'a\\d': open('x')}]",
        "{[]: 1}",
        "[{" * 50_000 + "}]",
    ],
)
def test_other_texts_are_answers(text: str) -> None:
    assert not holds_messages(text)


def test_fields_and_roles_that_a_mapping_names_are_known_in_texts_too() -> None:
    text = json.dumps([{"who": "expert", "says": "x"}])
    named = {"roles": {"expert": "assistant"}, "role_key": "who", "content_key": "says"}
    assert lift({"prompt": "q", "chosen": text}, layout(SIDES[0])).answers[0].text == text
    with pytest.raises(RowError, match="chosen is a text that holds messages") as error:
        lift({"prompt": "q", "chosen": text}, layout(SIDES[0], **named))
    assert error.value.rule == MESSAGES_AS_TEXT


def _ultra(prompt: str, answer: str) -> dict[str, Any]:
    return {"instruction": prompt, "completions": [{"response": answer, "annotations": {}}]}


@pytest.mark.parametrize(
    ("name", "field", "make"),
    [
        ("pairs", "chosen", lambda prompt, answer: {"prompt": prompt, "chosen": answer, "rejected": "y"}),
        ("trl", "chosen", lambda prompt, answer: {"prompt": prompt, "chosen": answer, "rejected": "y"}),
        ("orca_pairs", "chosen", lambda prompt, answer: {"question": prompt, "chosen": answer, "rejected": "y"}),
        ("distilabel", "generations[0]", lambda prompt, answer: {"instruction": prompt, "generations": [answer]}),
        ("rated", "response", lambda prompt, answer: {"prompt": prompt, "response": answer}),
        ("ultrafeedback", "completions[0].response", _ultra),
    ],
)
def test_every_reader_sets_such_prompts_and_answers_aside_and_says_why(
    name: str, field: str, make: Any, tmp_path: Path
) -> None:
    records = [make("q", "x"), make("q", json.dumps([SAID])), make(str([ASKED]), "x"), make("q", '["a", {"b": 1}]')]
    others = {"system": "", "ratings": [1], "generation_models": [""], "rationales": [""], "source": "s"}
    others |= dict.fromkeys(("helpfulness", "correctness", "coherence"), 1)
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(others | record) + "\n" for record in records), encoding="utf-8")
    spec = composed(f"data={name}", f"data.path={file}", "selection=critique").data
    assert isinstance(spec, FileData)
    read = mapped.read if isinstance(spec, Mapped) else READERS[name]
    parsed = read(spec, read_files([file], lambda share: None))
    assert [(one.line, one.rule) for one in parsed.malformed] == [(2, MESSAGES_AS_TEXT), (3, MESSAGES_AS_TEXT)]
    assert parsed.malformed[0].reason.startswith(f"{field} is a text that holds messages, in the form of JSON")
    assert {row.response for row in parsed.rows} >= {"x", '["a", {"b": 1}]'}
