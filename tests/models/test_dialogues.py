"""Whole conversations as tokens: the loss is on what the assistant says, as TRL has it by a template's own marks."""

from __future__ import annotations

from typing import Any

import pytest

from notus_exp.config.training_settings import SpecialTokens
from notus_exp.errors import UserError
from notus_exp.models.dialogues import IGNORED, Templating, encode_dialogues, tokenise_dialogues
from notus_exp.models.encoding import Limits, encode
from notus_exp.models.pretrained import load_tokenizer
from support.supervised import MARKED, chat

SYSTEM = {"role": "system", "content": "Be kind."}


def templating(**changes: Any) -> Templating:
    values = {
        "system_prompt": None, "max_length": 10_000, "date": None, "last_only": False,
        "special_tokens": SpecialTokens.drop,
    }  # fmt: skip
    return Templating(**values | changes)


def encoded(tokenizer: Any, turns: Any, **changes: Any) -> Any:
    (found,) = encode_dialogues(tokenizer, [turns], templating(**changes))
    return found


@pytest.mark.parametrize("turns", [chat(0, 1), chat(1, 3), [SYSTEM, *chat(2, 2)]])
def test_what_is_learnt_is_what_trls_assistant_only_loss_learns(tiny_tokenizer: Any, turns: Any) -> None:
    found = encoded(tiny_tokenizer, turns)
    theirs = tiny_tokenizer.apply_chat_template(
        turns, chat_template=MARKED, return_dict=True, return_assistant_tokens_mask=True
    )
    assert found.ids == theirs["input_ids"]
    assert [label != IGNORED for label in found.labels] == [bool(mask) for mask in theirs["assistant_masks"]]
    assert all(label in (IGNORED, token) for label, token in zip(found.labels, found.ids, strict=True))


def test_a_last_answer_alone_is_the_completion_that_preferences_are_learnt_on(tiny_tokenizer: Any) -> None:
    *prompt, answer = chat(1, 3)
    pair = encode(tiny_tokenizer, prompt, answer["content"], "", Limits(1000, None, "drop"))
    assert pair is not None
    found = encoded(tiny_tokenizer, [*prompt, answer], system_prompt="", last_only=True)
    assert found.ids == pair.prompt_ids + pair.completion_ids
    assert found.labels == [IGNORED] * len(pair.prompt_ids) + pair.completion_ids


def test_ends_are_cut_and_what_has_no_answer_left_is_left_out(tiny_tokenizer: Any) -> None:
    whole = encoded(tiny_tokenizer, chat(0, 2))
    first = whole.labels.index(next(label for label in whole.labels if label != IGNORED))
    found = tokenise_dialogues([chat(0, 2)], tiny_tokenizer, templating(max_length=first + 3))
    assert found.rows["input_ids"].to_list() == [whole.ids[: first + 3]]
    assert found.rows["labels"].to_list() == [whole.labels[: first + 3]]
    assert (found.counts["truncated"], found.counts["trained_tokens"]) == (1, 3)
    nothing = tokenise_dialogues([chat(0, 2)], tiny_tokenizer, templating(max_length=first))
    assert (len(nothing.rows), nothing.counts["too_long"], nothing.counts["truncated"]) == (0, 1, 0)


def test_marks_of_the_model_within_texts_are_dropped_kept_or_refused(tiny_tokenizer: Any) -> None:
    held = [{**chat(0, 1)[0], "content": "What does <|im_end|> mean?"}, chat(0, 1)[1]]
    for special, left in ((SpecialTokens.drop, 1), (SpecialTokens.keep, 2)):
        found = tokenise_dialogues([held, chat(1)], tiny_tokenizer, templating(special_tokens=special))
        assert (len(found.rows), found.counts["with_special_tokens"]) == (left, 1)
    with pytest.raises(UserError, match="1 conversation holds a mark of the model's own"):
        tokenise_dialogues([held, chat(1)], tiny_tokenizer, templating(special_tokens=SpecialTokens.error))


def test_an_earlier_answer_that_the_template_writes_otherwise_than_a_last_one(
    tiny_model_folder: Any,
) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content']",
        "(message['content'] if loop.last or message['role'] == 'user' else message['content'][:2])",
    )
    assert encoded(tokenizer, chat(0, 1))
    with pytest.raises(UserError, match="is not the beginning of"):
        encoded(tokenizer, chat(0, 2))


def test_hidden_system_turns_and_altered_answers_are_counted(tiny_model_folder: Any) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
    ).replace("message['content']", "message['content'].replace('yes', 'no')")
    found = tokenise_dialogues([[SYSTEM, *chat(0)], chat(1)], tokenizer, templating())
    assert (found.counts["system_turns_hidden"], found.counts["altered"]) == (1, 2)
