"""Pairs as sets that can be compared: texts by their hashes, several pairs of a prompt together."""

from __future__ import annotations

import polars as pl

RECORD = ["prompt_id", "row"]
"""What tells a record of the feedback apart."""
SIDES = ("chosen", "rejected")


def text_of(side: str) -> pl.Expr:
    """Return the text of a column of pairs.parquet: the content of its last message."""
    return pl.col(side).list.last().struct.field("content")


def hashed(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs with a hash in the place of each side's text, and `chosen_chars`, `rejected_chars`: its length.

    A hash is the same within one process alone.

    Args:
        pairs: With `chosen` and `rejected` as pairs.parquet has them.
    """
    lengths = [text_of(side).str.len_chars().cast(pl.Float64).alias(f"{side}_chars") for side in SIDES]
    return pairs.with_columns(*(text_of(side).hash().alias(side) for side in SIDES), *lengths)


def by_record(pairs: pl.DataFrame, key: list[str] | None = None) -> pl.DataFrame:
    """Return one row a record, `chosen` and `rejected` being the sorted sets of what its pairs choose and reject.

    Args:
        pairs: As `hashed` returns them.
        key: Another key than `RECORD`, such as the prompt alone.
    """
    sets = (pl.col(side).unique().sort() for side in SIDES)
    return pairs.group_by(key or RECORD, maintain_order=True).agg(*sets)
