"""OpenBMB's nested layout of UltraFeedback, of a completions table: a record a prompt, with all of its completions.

`data=ultrafeedback` reads it back to the same table. What the layout has no place for is refused or counted.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.table import CORPUS, LATENT_QUALITY

_RATING = "rating_"
_NOT_GIVEN = "N/A"
"""How the layout says that a completion has no rating."""
_EXACT = 2.0**53
"""Whole numbers below it are what they say as Float64."""


class NestedRecords(NamedTuple):
    """The records, and what is other than in the table.

    Attributes:
        records: A row a prompt: `source`, `instruction`, `models`, `completions`, in the order of the table.
        renumbered: Whether the numbers of records or completions in the table have gaps, which these have not.
        left_out: Columns of the table that the layout has no place for.
    """

    records: pl.DataFrame
    renumbered: bool
    left_out: list[str]


def nested(table: pl.DataFrame) -> NestedRecords:
    """Return the records of a completions table.

    A rating is a text, as in the original ("4", or "N/A"); `fine-grained_score`, a mean of the ratings that nothing
    here reads, is not written.

    Raises:
        UserError: Prompts have earlier turns, which the layout cannot hold.
    """
    if CONTEXT in table.columns and (turned := table.filter(pl.col(CONTEXT).list.len() > 0)["prompt_id"].n_unique()):
        raise UserError(
            f"--format openbmb holds one message a prompt, and {turned} prompts of this run have earlier turns",
            "use --format trl, h4 or parquet, which hold conversations",
        )
    aspects = [name.removeprefix(_RATING) for name in table.columns if name.startswith(_RATING)]
    annotations = [pl.struct(_rating(aspect).alias("Rating")).alias(aspect) for aspect in aspects]
    annotated = [pl.struct(*annotations).alias("annotations")] if annotations else []
    completion = pl.struct(
        *(pl.col(name) for name in ("model", "principle")),
        pl.col("system_prompt").alias("custom_system_prompt"),
        pl.col("response"),
        *annotated,
        *(pl.col(name) for name in ("overall_score", "critique")),
    )
    rows = table.select("row", "source", "instruction", completion.alias("completions"), model=pl.col("model"))
    records = rows.group_by("row", maintain_order=True).agg(
        pl.col("source", "instruction").first(), pl.col("model").alias("models"), "completions"
    )
    own = table.select(
        row=pl.col("row").rank("dense").cast(pl.Int64) - 1, completion=pl.int_range(pl.len()).over("row")
    )
    renumbered = not own.equals(table.select("row", pl.col("completion").cast(pl.Int64)))
    return NestedRecords(
        records.drop("row"), renumbered, [name for name in (CORPUS, LATENT_QUALITY) if name in table.columns]
    )


def _rating(aspect: str) -> pl.Expr:
    """Return an aspect's ratings as texts: whole numbers without a point, others as short as they are exact."""
    rating = pl.col(f"{_RATING}{aspect}")
    whole = (rating == rating.round()) & (rating.abs() < _EXACT)
    text = pl.when(whole).then(rating.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(rating.cast(pl.String))
    return text.fill_null(_NOT_GIVEN)
