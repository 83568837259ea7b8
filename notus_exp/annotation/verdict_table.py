"""annotations.parquet: the verdicts of an annotator, each with whose it is.

One row a verdict, ordered as the completions table, columns in this order:

    prompt_id, row, completion      as there
    other                           Int64: of pairs the completion that it is compared with, else null
    order                           of pairs reference_first (`completion` is shown first) or model_first; where all
                                    completions of a prompt are rated together its place among those shown, from "1";
                                    else ""
    value                           Float64: the rating or score; of pairs in [1, 2], 2 = `other` wins, whatever the
                                    order; null where the verdict failed
    reason                          why it failed, "" where it did not
    raw, snapshot, prompt_tokens, completion_tokens, cost    as of the stage `judgments` (judging/verdicts.py); a reply
                                    on several completions is on each, its tokens and cost on the first of them, 0 else
    rationale                       why, in the annotator's words, a critique's text; "" where none is asked for
    types                           List(String): which of its rubric's types it names; empty where there are none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from notus_exp.judging.verdicts import VERDICTS_SCHEMA, Verdict

ID = ("prompt_id", "row", "completion")
OTHER = "other"
SAID = [name for name in VERDICTS_SCHEMA if name not in ("prompt_id", "turn", "order")]
"""Columns of a verdict but for whose it is."""
WORDS = {"rationale": pl.String(), "types": pl.List(pl.String())}
"""Columns that a table of an earlier version lacks, which had no such words."""


class InWords(NamedTuple):
    """What an annotator says of a completion beside the number; see the module."""

    rationale: str = ""
    types: tuple[str, ...] = ()


def verdict_table(
    completions: pl.DataFrame,
    verdicts: Sequence[Verdict],
    one: Sequence[int],
    other: Sequence[int] | None = None,
    said: Sequence[InWords] | None = None,
) -> pl.DataFrame:
    """Return verdicts as a table.

    Args:
        completions: The completions.
        verdicts: Verdicts, n of them.
        one: The completion that each is on, or compares first, by its place in the table.
        other: Of pairs the place of the other one.
        said: The words of each verdict; None where there are none.
    """
    told = pl.DataFrame(verdicts, schema=VERDICTS_SCHEMA, orient="row")
    whose = completions.select(*ID)[list(one)]
    against = pl.repeat(None, len(verdicts), dtype=pl.Int64, eager=True)
    if other is not None:
        against = completions["completion"].gather(list(other))
    rows = [(one.rationale, [*one.types]) for one in said or [InWords()] * len(verdicts)]
    words = pl.DataFrame(rows, schema=pl.Schema(WORDS), orient="row")
    return pl.concat([whose, against.alias(OTHER).to_frame(), told.select("order", *SAID), words], how="horizontal")
