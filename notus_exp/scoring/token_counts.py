"""How many tokens of the base model each response is: as it is templated after its prompt, and whole."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from notus_exp.config.column_names import TOKENS
from notus_exp.disk import files
from notus_exp.models.reference import ANY_USE, texts_of
from notus_exp.models.tokens import ANY_LENGTH, tokenise
from notus_exp.stages.context import Context
from notus_exp.stages.settings import NO_SPLIT, ReferenceSettings, TokenCounting

ROWS = 20_000
"""Completions that are held as tokens at once."""


def count_tokens(counting: TokenCounting, inputs: dict[str, Path], context: Context) -> pl.DataFrame:
    """Return the tokens of each completion: those that are behind its prompt's, with the mark at its end.

    As training counts them, but before anything is cut to `dpo.max_length`.

    Args:
        counting: The template's system turn and date.
        inputs: Artifacts `feedback` and `base_model`.
        context: Where progress is shown.

    Returns:
        Columns row, completion and TOKENS (Float64), a row a completion.
    """
    whole = ReferenceSettings(
        split=NO_SPLIT,
        system_prompt=counting.system_prompt,
        precision="",
        max_length=ANY_LENGTH,
        max_prompt_length=None,
        long_prompts="drop",
        template_date=counting.template_date,
    )
    texts = texts_of(inputs["feedback"]).with_columns(use=pl.lit(ANY_USE))
    counted: list[tuple[int, int, float]] = []
    for part in texts.iter_slices(ROWS):
        found = tokenise(part, whole, inputs["base_model"] / files.MODEL)
        numbers = [float(len(item.completion_ids)) for item in found.encoded]
        counted += [(row, place, number) for (_, row, place, _), number in zip(found.rows, numbers, strict=True)]
        context.events.progress(len(counted), texts.height)
    return pl.DataFrame(counted, {"row": pl.Int64, "completion": pl.Int64, TOKENS: pl.Float64}, orient="row")
