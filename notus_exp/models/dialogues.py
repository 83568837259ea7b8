"""From whole conversations to token ids and labels: the loss is on what the assistant says, and on nothing else.

The rules are those of prompts and completions (`encoding.py`): an answer begins where the tokens of what is before it,
with the generation prompt, end; and it ends where its turn does, with what the template writes after its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import polars as pl
from transformers import PreTrainedTokenizerFast

from notus_exp.config.training_settings import SpecialTokens
from notus_exp.errors import UserError
from notus_exp.models.encoding import check_beginning, remedy_for, shows_system_turn, with_system
from notus_exp.models.markup import marks
from notus_exp.models.rendering import Message, render
from notus_exp.reporting.texts import many

IGNORED = -100
"""Label of a token that the loss is not on, as torch has it."""
TOKENS = pl.List(pl.Int32)
SCHEMA = pl.Schema({"input_ids": TOKENS, "labels": TOKENS})
CHUNK = 500
"""Conversations that are made tokens at once, on all cores, and between two reports of progress."""


class EncodedDialogue(NamedTuple):
    """A conversation as token ids and labels before its end is cut; `altered`: an answer is not written as it is."""

    ids: list[int]
    labels: list[int]
    altered: bool


class Templating(NamedTuple):
    """How conversations become tokens.

    Attributes:
        system_prompt: Text of the system turn of those that have none, or None to leave them alone.
        max_length: Tokens that are kept of each, from its beginning.
        date: What a template is told that asks for today's (YYYY-MM-DD).
        last_only: Whether the last answer alone is learnt; of what is before it the model sees all.
        special_tokens: What becomes of those whose texts hold a mark of the model's own.
    """

    system_prompt: str | None
    max_length: int
    date: str | None
    last_only: bool
    special_tokens: SpecialTokens


class TokenisedDialogues(NamedTuple):
    """Conversations within the limits (columns `input_ids`, `labels`), and counts.

    `counts` has too_long (no token of an answer is within `max_length`: left out), with_special_tokens (hold a mark;
    left out where they are dropped), and of those that are kept truncated (lost their end), altered (of an answer the
    template writes another text), system_turns_hidden (it does not show their own system turn) and trained_tokens.
    """

    rows: pl.DataFrame
    counts: dict[str, int]


def tokenise_dialogues(
    dialogues: Sequence[Sequence[Message]],
    tokenizer: PreTrainedTokenizerFast,
    how: Templating,
    done: Callable[[int], None] = lambda number: None,
) -> TokenisedDialogues:
    """Return conversations as tokens, in their order.

    Args:
        dialogues: Each ends in an answer.
        tokenizer: Of the model.
        how: System turn, limit, and what is learnt.
        done: Told now and then how many are tokens.

    Raises:
        UserError: The template refuses turns, or writes what is before an answer differently by itself; or a text
            holds a mark, and that is an error.
    """
    known = marks(tokenizer, how.date)
    names = ("too_long", "truncated", "with_special_tokens", "altered", "system_turns_hidden", "trained_tokens")
    counts, parts = dict.fromkeys(names, 0), [pl.DataFrame(schema=SCHEMA)]
    for start in range(0, len(dialogues), CHUNK):
        taken = []
        for turns in dialogues[start : start + CHUNK]:
            marked = any(mark in turn["content"] for turn in turns for mark in known)
            counts["with_special_tokens"] += marked
            taken += [] if marked and how.special_tokens is SpecialTokens.drop else [turns]
        kept: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
        for turns, found in zip(taken, encode_dialogues(tokenizer, taken, how), strict=True):
            labels = found.labels[: how.max_length]
            if not any(label != IGNORED for label in labels):
                counts["too_long"] += 1
                continue
            counts["truncated"] += len(found.ids) > how.max_length
            counts["altered"] += found.altered
            counts["system_turns_hidden"] += _hides(tokenizer, turns, how)
            counts["trained_tokens"] += sum(label != IGNORED for label in labels)
            kept["input_ids"].append(found.ids[: how.max_length])
            kept["labels"].append(labels)
        parts.append(pl.DataFrame(kept, schema=SCHEMA))
        done(min(start + CHUNK, len(dialogues)))
    if how.special_tokens is SpecialTokens.error and counts["with_special_tokens"]:
        raise UserError(
            f"{many(counts['with_special_tokens'], 'conversation holds', 'conversations hold')} a mark of the model's "
            "own in a text, such as its end token, and sft.special_tokens=error",
            "sft.special_tokens=drop leaves them out, and keep trains on them",
        )
    return TokenisedDialogues(pl.concat(parts), counts)


def encode_dialogues(
    tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Sequence[Message]], how: Templating
) -> list[EncodedDialogue]:
    """Return conversations as token ids, uncut, and as labels those that are learnt, of all answers or of the last one.

    Arguments are those of `tokenise_dialogues`.

    Raises:
        UserError: The template refuses turns, or what is before an answer, or with it, is not the beginning of the
            whole: the model would be trained on another context than it is given later.
    """
    written = [_written(tokenizer, turns, how) for turns in dialogues]
    texts = [text for one in written for text in one.texts]
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])
    return [_labelled(tokenizer, one, [list(next(ids)) for _ in one.texts]) for one in written]


class _Answer(NamedTuple):
    """An answer of a conversation: its text, and what is written before it, and with it where another turn follows."""

    content: str
    before: str
    through: str | None


class _Written(NamedTuple):
    """A conversation as the template writes it, whole and up to the answers that are learnt."""

    whole: str
    answers: list[_Answer]

    @property
    def texts(self) -> list[str]:
        """Return all of them: the whole, then of each answer one or two."""
        parts = (part for answer in self.answers for part in (answer.before, answer.through) if part is not None)
        return [self.whole, *parts]


def _written(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], how: Templating) -> _Written:
    turns = with_system(list(messages), how.system_prompt)
    told: dict[str, Any] = {"date": how.date, "remedy": remedy_for(list(messages), turns)}
    places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    answers = [
        _Answer(
            turns[place]["content"],
            render(tokenizer, turns[:place], add_generation_prompt=True, **told),
            render(tokenizer, turns[: place + 1], add_generation_prompt=False, **told)
            if place + 1 < len(turns)
            else None,
        )
        for place in (places[-1:] if how.last_only else places)
    ]
    return _Written(render(tokenizer, turns, add_generation_prompt=False, **told), answers)


def _labelled(tokenizer: PreTrainedTokenizerFast, one: _Written, ids: list[list[int]]) -> EncodedDialogue:
    """Return a conversation with its labels; `ids` are those of its texts."""
    whole, *parts = ids
    labels, altered = [IGNORED] * len(whole), False
    remaining = iter(parts)
    for answer in one.answers:
        start = check_beginning(tokenizer, next(remaining), whole)
        end = len(whole) if answer.through is None else check_beginning(tokenizer, next(remaining), whole)
        labels[start:end] = whole[start:end]
        altered = altered or answer.content.strip() not in one.whole.removeprefix(answer.before)
    return EncodedDialogue(whole, labels, altered)


def _hides(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Message], how: Templating) -> bool:
    """Say whether the template does not show a conversation's own system turn."""
    if turns[0]["role"] != "system" or not turns[0]["content"]:
        return False
    return not shows_system_turn(tokenizer, list(turns), how.system_prompt, how.date)
