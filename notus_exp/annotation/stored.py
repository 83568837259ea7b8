"""Verdicts of an annotator that lie in a file, as annotations.parquet of another run has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.annotation.verdict_table import ID, OTHER, SAID, WORDS, InWords
from notus_exp.errors import UserError, first_line
from notus_exp.judging.verdicts import VERDICTS_SCHEMA, Verdict

MISSING = "no stored verdict"
_PATH = "judge.path"


class StoredSaying(NamedTuple):
    """A stored verdict and its words."""

    verdict: Verdict
    words: InWords


def read_stored(path: Path, pairs: bool) -> pl.DataFrame:
    """Return stored verdicts, after a look at their columns.

    Args:
        path: A parquet file in the layout of verdict_table.py; of what a verdict says only `value` must be there.
        pairs: Whether the verdicts are on pairs, which have `other` and `order`.

    Raises:
        UserError: The file cannot be read, lacks a column, or has two verdicts on the same.
    """
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{_PATH}={path} cannot be read as parquet: {first_line(error)}",
            "give annotations.parquet of an earlier run; scores of any other file are joined with `scores`",
        ) from error
    keys = [*ID, *((OTHER, "order") if pairs else ())]
    if absent := [name for name in (*keys, "value") if name not in table.columns]:
        raise UserError(
            f"{_PATH}={path} has no column '{absent[0]}'",
            "give annotations.parquet of an earlier run, of pairs where pairs: true",
        )
    if not pairs and OTHER in table.columns and table[OTHER].null_count() < table.height:
        raise UserError(f"{_PATH}={path} holds verdicts on pairs", "add pairs: true")
    if not table["value"].dtype.is_numeric():
        raise UserError(f"{_PATH}={path}: 'value' holds no numbers", "give annotations.parquet of an earlier run")
    if table.select(pl.struct(keys).is_duplicated().any()).item():
        raise UserError(f"{_PATH}={path} has two verdicts on the same answer", "keep one of them")
    said = [pl.lit(None, VERDICTS_SCHEMA[name]).alias(name) for name in SAID if name not in table.columns]
    words = [pl.lit(None, kind).alias(name) for name, kind in WORDS.items() if name not in table.columns]
    return table.with_columns(pl.col("value").cast(pl.Float64).fill_nan(None), *said, *words).select(
        *keys, *SAID, *WORDS
    )


def stored_verdicts(
    stored: pl.DataFrame, wanted: Sequence[tuple[Any, ...]], scale: tuple[float, float] | None
) -> list[StoredSaying]:
    """Return the stored verdict on each wanted completion or pair, a failed one where there is none.

    Args:
        stored: Of `read_stored`.
        wanted: prompt id, row and completion of each; of pairs also the other completion and the order.
        scale: The least and the best value; None for any.
    """
    width = len(wanted[0]) if wanted else 0
    known = {row[:width]: row[width:] for row in stored.iter_rows()}
    return [_said(key, known.get(key), scale) for key in wanted]


def _said(key: tuple[Any, ...], said: tuple[Any, ...] | None, scale: tuple[float, float] | None) -> StoredSaying:
    rationale, types = said[len(SAID) :] if said else (None, None)
    return StoredSaying(_verdict(key, said and said[: len(SAID)], scale), InWords(rationale or "", tuple(types or ())))


def _verdict(key: tuple[Any, ...], said: tuple[Any, ...] | None, scale: tuple[float, float] | None) -> Verdict:
    order = key[4] if len(key) > len(ID) else ""
    if said is None:
        return Verdict(key[0], 1, order, None, MISSING, "", "", None, None, None)
    told = dict(zip(SAID, said, strict=True))
    value, reason = told["value"], told["reason"] or ""
    if value is None:
        reason = reason or "the stored verdict has no value"
    elif scale and not scale[0] <= value <= scale[1]:
        value, reason = None, f"the stored value {value:g} is not between {scale[0]:g} and {scale[1]:g}"
    told |= {"value": value, "reason": reason, "raw": told["raw"] or "", "snapshot": told["snapshot"] or ""}
    return Verdict(key[0], 1, order, **told)
