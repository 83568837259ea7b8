"""The columns that curation reads, and the mean rating that several rules need. Nothing latent is among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from notus_exp.config.column_names import SCORE
from notus_exp.config.column_names import TEXTS as TEXT_COLUMNS
from notus_exp.curation.formulas import PromptColumns
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONTEXT

OVERALL = "overall_score"
TEXTS = ("prompt_id", "row", "source", "instruction", "completion", "model", "principle", "system_prompt", "response")
"""Columns of the completions table that curation reads beside the ratings and the overall score."""
RATING = "rating_"
NAMED = "column:"
"""Begins the name of a column that an expression names and the table has under no name of its own."""
MEASURES = {
    "chars": pl.col("response").str.len_chars(),
    "words": pl.col("response").str.count_matches(r"\S+"),
    **{name: pl.col(name) for name in TEXT_COLUMNS},
}
"""Column of the language -> how it is had from the completions table: only where an expression names it."""


def rating(aspect: str) -> str:
    """Return the name of an aspect's rating column."""
    return RATING + aspect


def mean_rating(aspects: Sequence[str]) -> pl.Expr:
    """Return the mean of a completion's non-null ratings (Float64; null where all are, or without aspects)."""
    if not aspects:
        return pl.lit(None, pl.Float64)
    return pl.mean_horizontal([pl.col(rating(aspect)) for aspect in aspects])


def needed(columns: Sequence[str]) -> list[str]:
    """Return which of a table's columns curation reads: texts, ratings and the overall score, never `latent_*`."""
    wanted = (*TEXTS, OVERALL, CONTEXT, "corpus")
    return [name for name in columns if name in wanted or name.startswith((RATING, NAMED))]


def joined_names(columns: Sequence[str]) -> list[str]:
    """Return the names in the language of a table's columns that are neither ratings nor of every completion."""
    known = [name.removeprefix(NAMED) for name in columns if name.startswith(NAMED)]
    corpus = ["corpus"] if "corpus" in columns else []
    return [name for name in dict.fromkeys([*known, *corpus]) if name == "corpus" or name not in MEASURES]


def carried(names: Iterable[str], columns: Sequence[str]) -> list[pl.Expr]:
    """Return what a narrow table takes over from the completions table, of the columns that expressions name."""
    measured = [MEASURES[name].alias(NAMED + name) for name in sorted({*names}) if name in MEASURES]
    return [*measured, *(pl.col(name) for name in columns if name.startswith(NAMED))]


def cells_of(completions: pl.DataFrame, aspects: Sequence[str]) -> PromptColumns:
    """Return where an expression over completions finds its columns.

    Args:
        completions: A table of completions, whole or with what `carried` takes over; `group` tells prompts apart, or
            prompt id and row.
        aspects: The aspects with a rating column.
    """

    def column(name: str) -> pl.Series:
        """Return a column of the language by its name: Float64 without NaN, or String."""
        if name in aspects:
            found = pl.col(rating(name))
        elif name == "overall":
            found = pl.col(OVERALL)
        elif name == "average":
            found = mean_rating(aspects)
        elif name == SCORE:
            found = pl.col(SCORE)
        else:
            found = pl.col(NAMED + name) if NAMED + name in completions.columns else MEASURES[name]
        values = completions.select(found).to_series()
        if values.dtype == pl.String:
            return values
        return values.cast(pl.Float64).fill_nan(None)

    by = "group" if "group" in completions.columns else pl.struct("prompt_id", "row").hash()
    return PromptColumns(column, completions.select(by).to_series())


def check_aspects(columns: Sequence[str], aspects: Sequence[str]) -> None:
    """Check that each aspect has its rating column.

    Raises:
        UserError: Naming the aspects that the table does have.
    """
    missing = [aspect for aspect in aspects if rating(aspect) not in columns]
    if missing:
        known = [name.removeprefix(RATING) for name in columns if name.startswith(RATING)]
        raise UserError(
            f"data.aspects names {', '.join(missing)}, but the feedback has no such rating",
            f"ratings in the feedback: {', '.join(known)}" if known else "it has no ratings: use selection=critique",
        )
