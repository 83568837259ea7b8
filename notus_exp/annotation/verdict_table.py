"""annotations.parquet: the verdicts of an annotator, each with whose it is.

One row a verdict, ordered as the completions table, columns in this order:

    prompt_id, row, completion      as there
    other                           Int64: of pairs the completion that it is compared with, else null
    order                           of pairs reference_first (`completion` is shown first) or model_first, else ""
    value                           Float64: the rating or score; of pairs in [1, 2], 2 = `other` wins, whatever the
                                    order; null where the verdict failed
    reason                          why it failed, "" where it did not
    raw, snapshot, prompt_tokens, completion_tokens, cost    as of the stage `judgments` (judging/verdicts.py)
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from notus_exp.judging.verdicts import VERDICTS_SCHEMA, Verdict

ID = ("prompt_id", "row", "completion")
OTHER = "other"
SAID = [name for name in VERDICTS_SCHEMA if name not in ("prompt_id", "turn", "order")]
"""Columns of a verdict but for whose it is."""


def verdict_table(
    completions: pl.DataFrame, verdicts: Sequence[Verdict], one: Sequence[int], other: Sequence[int] | None = None
) -> pl.DataFrame:
    """Return verdicts as a table.

    Args:
        completions: The completions.
        verdicts: Verdicts, n of them.
        one: The completion that each is on, or compares first, by its place in the table.
        other: Of pairs the place of the other one.
    """
    said = pl.DataFrame(verdicts, schema=VERDICTS_SCHEMA, orient="row")
    whose = completions.select(*ID)[list(one)]
    against = pl.repeat(None, len(verdicts), dtype=pl.Int64, eager=True)
    if other is not None:
        against = completions["completion"].gather(list(other))
    return pl.concat([whose, against.alias(OTHER).to_frame(), said.select("order", *SAID)], how="horizontal")
