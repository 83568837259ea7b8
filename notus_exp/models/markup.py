"""Marks of a model's own within texts: what its tokenizer and template take for the end or the beginning of a turn."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from transformers import PreTrainedTokenizerFast

from notus_exp.models.rendering import Message, render

_QUESTION, _ANSWER = "a question of one line", "an answer of one line"
CONVERSATION: tuple[Message, ...] = (
    {"role": "user", "content": _QUESTION},
    {"role": "assistant", "content": _ANSWER},
)
"""A plain conversation, to see what a template writes around its texts."""


def marks(tokenizer: PreTrainedTokenizerFast, date: str | None) -> list[str]:
    """Return the texts that the model reads as something else than text, sorted.

    These are the special tokens, the other added tokens that the template writes, and what it writes from the end of a
    user's text to the beginning of the answer (which a rendered conversation within a text holds too, where the
    template makes do without special tokens).

    Args:
        tokenizer: Has the tokens and the template.
        date: What the template is told when it asks for today's.
    """
    written = render(tokenizer, CONVERSATION, add_generation_prompt=False, date=date)
    added = tokenizer.added_tokens_decoder.values()
    found = {token.content for token in added if token.special or token.content in written}
    _, _, after = written.partition(_QUESTION)
    between, answered, _ = after.partition(_ANSWER)
    if answered and between.strip():
        found.add(between)
    return sorted(mark for mark in found if mark.strip())


def hold_marks(pairs: pl.DataFrame, known: Sequence[str]) -> pl.Series:
    """Say of each pair whether its prompt or one of its sides holds a mark.

    Args:
        pairs: Columns prompt, chosen, rejected: lists of turns, as in pairs.parquet.
        known: The marks.
    """
    if not known:
        return pl.repeat(False, len(pairs), dtype=pl.Boolean, eager=True)
    texts = [
        pl.col(side).list.eval(pl.element().struct.field("content")).list.join("\n").str.contains_any([*known])
        for side in ("prompt", "chosen", "rejected")
    ]
    return pairs.select(held=pl.any_horizontal(texts))["held"]
