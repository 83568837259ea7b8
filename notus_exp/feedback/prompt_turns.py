"""A prompt as its messages: the one place where the columns of the completions table become what a model is given."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from notus_exp.reporting.texts import cut

CONVERSATION = "conversation"
"""Value of `principle` where `system_prompt` is a turn of the conversation, which curation puts into the prompt."""
CONTEXT = "context"
"""Column of the turns before the user's message, which only tables with such prompts have."""
TURNS = pl.List(pl.Struct({"role": pl.String(), "content": pl.String()}))
"""Type of a column of messages, TRL's conversational format."""
_OF_PROMPT = ("instruction", "principle", "system_prompt", CONTEXT)


def prompt_columns(present: Sequence[str]) -> list[str]:
    """Return which of a completions table's columns `prompt_turns` reads."""
    return [name for name in _OF_PROMPT if name in present]


def prompt_turns(rows: pl.DataFrame) -> pl.Series:
    """Return the messages of prompts: the system's, the earlier turns and the user's message.

    A system turn is there only where it is part of the conversation, and not empty.

    Args:
        rows: Columns instruction, principle, system_prompt and, where the table has it, context, shape (n,).

    Returns:
        Series of type `TURNS`, shape (n,).
    """
    turns = messages("user", rows["instruction"])
    if CONTEXT in rows.columns:
        turns = rows.select(pl.concat_list(pl.col(CONTEXT), turns)).to_series()
    if not (rows["principle"] == CONVERSATION).any():
        return turns
    system = messages("system", rows["system_prompt"])
    shown = (pl.col("principle") == CONVERSATION) & (pl.col("system_prompt") != "")
    return rows.select(pl.when(shown).then(pl.concat_list(system, turns)).otherwise(turns)).to_series()


def messages(role: str, content: pl.Series) -> pl.Series:
    """Return lists of one message each, in TRL's conversational format."""
    frame = content.rename("content").to_frame()
    return frame.select(message=pl.concat_list(pl.struct(role=pl.lit(role), content="content")))["message"]


def as_read(turns: Sequence[dict[str, str]], most: int) -> str:
    """Return a prompt's turns as a text to read: the user's message alone, or each turn after its role.

    Args:
        turns: The messages.
        most: Characters of each that are shown at most.
    """
    said = [cut(turn["content"], most) for turn in turns]
    if len(turns) == 1:
        return said[0]
    return "\n\n".join(f"[{turn['role']}] {text}" for turn, text in zip(turns, said, strict=True))
