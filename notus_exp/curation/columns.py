"""The columns that curation reads, and the mean rating that several rules need. Nothing latent is among them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from notus_exp.errors import UserError

OVERALL = "overall_score"
TEXTS = ("prompt_id", "row", "source", "instruction", "completion", "model", "principle", "system_prompt", "response")
"""Columns of the completions table that curation reads beside the ratings and the overall score."""
RATING = "rating_"


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
    return [name for name in columns if name in TEXTS or name == OVERALL or name.startswith(RATING)]


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
