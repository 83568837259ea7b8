"""Which prompts are the same once folded: ids that tell it, for whole columns at once."""

from __future__ import annotations

import polars as pl

from notus_exp.disk.folding import folded
from notus_exp.disk.hashing import prompt_id
from notus_exp.feedback.prompt_turns import CONTEXT, CONVERSATION

_SPACES = ("  ", "\t", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f")
"""Two spaces, and all white space of ASCII but the space."""


def same_prompts(completions: pl.DataFrame) -> pl.DataFrame:
    """Return what tells which rows have the same prompt: it is of one text once folded, and of one system turn.

    A system prompt that is no turn of the conversation, but told the model that answered, makes no other prompt.

    Args:
        completions: Columns prompt_id, instruction, principle, system_prompt and, where the table has it, context,
            shape (n,).

    Returns:
        Columns folded_id and shown (the system turn, "" without one), shape (n,): both are equal of the same prompts.
    """
    context = completions[CONTEXT] if CONTEXT in completions.columns else None
    shown = pl.when(pl.col("principle") == CONVERSATION).then("system_prompt").otherwise(pl.lit(""))
    ids = folded_ids(completions["prompt_id"], completions["instruction"], context)
    return completions.select(ids, shown.alias("shown"))


def folded_ids(prompt_ids: pl.Series, instructions: pl.Series, contexts: pl.Series | None = None) -> pl.Series:
    """Return the ids that folded prompts have: the same for prompts that fold to the same, else another.

    Of a prompt with earlier turns each turn is folded: another conversation before it makes another prompt.

    Args:
        prompt_ids: Id of each prompt, shape (n,); it is the folded one's too where the prompt is folded.
        instructions: The user's messages, shape (n,).
        contexts: The turns before them, shape (n,); None where there are none at all.

    Returns:
        String series `folded_id` of shape (n,).
    """
    ids = prompt_ids.to_list()
    may_fold = _may_fold(instructions)
    if contexts is not None:
        may_fold |= _may_fold_within(contexts)
    places = may_fold.arg_true()
    texts = instructions.gather(places).to_list()
    if contexts is None:  # nearly all data: no lists of turns are made for each text
        for place, text in zip(places.to_list(), texts, strict=True):
            same = folded(text)
            if same != text:
                ids[place] = prompt_id(same)
        return pl.Series("folded_id", ids, dtype=pl.String)
    for place, text, turns in zip(places.to_list(), texts, contexts.gather(places).to_list(), strict=True):
        same, before = folded(text), [(turn["role"], folded(turn["content"])) for turn in turns]
        if same != text or before:
            ids[place] = prompt_id(same, before)
    return pl.Series("folded_id", ids, dtype=pl.String)


def _may_fold_within(contexts: pl.Series) -> pl.Series:
    """Say of each list of turns whether folding could change one of them."""
    turns = pl.DataFrame({"turn": contexts}).with_row_index("place").explode("turn").drop_nulls().unnest("turn")
    places = turns["place"].filter(_may_fold(turns["content"]))
    return pl.select(pl.int_range(len(contexts), dtype=pl.UInt32).is_in(places.implode())).to_series()


def _may_fold(texts: pl.Series) -> pl.Series:
    """Say of each text whether folding could change it: searches for fixed texts take a hundredth of the folding."""
    found = texts.str.len_chars() != texts.str.len_bytes()
    for space in _SPACES:
        found |= texts.str.contains(space, literal=True)
    return found | texts.str.starts_with(" ") | texts.str.ends_with(" ")
