"""The columns of a table that another tool made: which hold what, and what they may not hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.disk.given import LARGEST
from notus_exp.errors import UserError, did_you_mean
from notus_exp.judging.verdict_origin import VerdictOrigin, origin_of, tells_origin

PROMPT_COLUMNS = ("prompt_id", "prompt", "index", "question_id", "instruction_sha16")
"""Columns that name the prompt without being told so."""

_NAME_OF_AN_ID = re.compile(r"(.*[\W_])?(id|idx|index|no|nr|row|unnamed)([\W_]*\d*)?|", re.IGNORECASE)
"""The empty name is that of the row numbers that data frames write."""


class WantedColumns(NamedTuple):
    """Columns that the command line names; None and empty where it does not.

    Attributes:
        clusters: Holds the unit that a prompt belongs to.
        prompt: Names the prompt.
        models: The models' columns of a wide table.
    """

    clusters: str | None = None
    prompt: str | None = None
    models: Sequence[str] = ()


def check_column(table: pl.DataFrame, name: str, path: Path) -> None:
    """Refuse a table without a column.

    Raises:
        UserError: It is not there.
    """
    columns: Sequence[str] = table.columns
    if name not in columns:
        raise UserError(f"verdicts: '{path}' has no column '{name}'", did_you_mean(name, columns))


def check_filled(table: pl.DataFrame, name: str, path: Path) -> None:
    """Refuse a column with empty cells.

    Raises:
        UserError: A cell is empty; it names the first, rows counted from 1 below the header.
    """
    empty = table[name].is_null()
    if empty.any():
        raise UserError(
            f"verdicts: column '{name}' of '{path}' is empty in row {_first(empty)} ({empty.sum()} such rows)",
            "fill it in, or leave these rows out; rows are counted from 1 below the header",
        )


def check_numbers(table: pl.DataFrame, name: str, path: Path) -> None:
    """Refuse a column that holds text, infinite values or others that cannot be computed with.

    Raises:
        UserError: It does.
    """
    column = table[name]
    if not holds_numbers(column):
        wrong = column.is_not_null()
        if column.dtype == pl.String:
            wrong &= column.cast(pl.Float64, strict=False).is_null() | column.is_in(["nan", "inf", "-inf"])
        row = _first(wrong)
        raise UserError(
            f"verdicts: column '{name}' of '{path}' holds text: '{column[row - 1]}' in row {row}",
            "values are numbers, empty where missing; --prompt-column names the prompts, --models the models' columns",
        )
    values = column.cast(pl.Float64)
    for wrong, said in ((values.is_infinite(), "is infinite"), (values.abs() > LARGEST, "is not a usable number")):
        wrong = wrong.fill_null(value=False) & values.is_not_nan().fill_null(value=False)
        if wrong.any():
            row = _first(wrong)
            raise UserError(
                f"verdicts: column '{name}' of '{path}' {said} in row {row} ({wrong.sum()} such rows)",
                f"leave a value empty where there is none; the largest is {LARGEST:.0e}",
            )


def holds_numbers(column: pl.Series) -> bool:
    """Tell whether a column can hold a model's values; an empty one can."""
    return column.dtype.is_numeric() or column.dtype == pl.Boolean or column.null_count() == column.len()


def prompt_column(table: pl.DataFrame, asked: WantedColumns, path: Path) -> str | None:
    """Return the column that names the prompts; None where there is none.

    Raises:
        UserError: The one that was asked for is not there, or cells of the column are empty.
    """
    if asked.prompt is not None:
        check_column(table, asked.prompt, path)
    name = asked.prompt or next((name for name in PROMPT_COLUMNS if name in table.columns), None)
    if name is not None:
        check_filled(table, name, path)
    return name


def model_columns(table: pl.DataFrame, asked: WantedColumns) -> list[str]:
    """Return the columns of a wide table that are models, in the table's order: those asked for, else all others."""
    if asked.models:
        return [name for name in table.columns if name in asked.models]
    others = (*PROMPT_COLUMNS, asked.clusters, asked.prompt)
    return [name for name in table.columns if name not in others and not _of_origin(table[name])]


def origin_columns(table: pl.DataFrame, asked: WantedColumns, path: Path) -> VerdictOrigin:
    """Return whose verdicts a table holds, from columns such as `annotator` and `generator_1`.

    Raises:
        UserError: One of them holds several judges, snapshots or reference models.
    """
    named = (asked.clusters, asked.prompt, *asked.models)
    told = {name: table[name] for name in table.columns if name not in named and _of_origin(table[name])}
    return origin_of(told, "verdicts", path)


def told_apart(table: pl.DataFrame, asked: WantedColumns) -> list[str]:
    """Return the sentence on columns of texts that are one for each model of a long table, and not for all the same."""
    named = ("model", "value", "seed", *PROMPT_COLUMNS, asked.clusters, asked.prompt)
    texts = [one.name for one in table if one.dtype == pl.String and one.name not in named and not _of_origin(one)]
    by_model = table.group_by("model").agg(pl.col(texts).n_unique())
    apart = [f"'{name}'" for name in texts if table[name].n_unique() > 1 and (by_model[name] == 1).all()]
    if not apart:
        return []
    return [f"{', '.join(apart)}: one for each model, and not the same for all; where that tells how the verdicts came"
            " about, the models are not compared on equal terms"]  # fmt: skip


def check_models(table: pl.DataFrame, asked: WantedColumns, key: str | None, path: Path) -> None:
    """Refuse models of a wide table that are not there, hold no numbers, or look like the number of a row.

    Args:
        table: As read.
        asked: The columns that were asked for; models among them are believed.
        key: The column that names the prompts.
        path: Of the file, for errors.

    Raises:
        UserError: A column is such a one.
    """
    for name in asked.models:
        check_column(table, name, path)
        if name in (asked.clusters, asked.prompt):
            raise UserError(f"--models: '{name}' is the column of the clusters or prompts", "name it once")
    models = model_columns(table, asked)
    for name in models:
        if not asked.models and _looks_like_ids(table[name], name, key):
            others = ",".join(other for other in models if other != name)
            raise UserError(
                f"verdicts: column '{name}' of '{path}' looks like numbers of rows, not like a model's values",
                f"--prompt-column '{name}' if it names the prompts; --models '{others}' takes these columns alone",
            )
        check_numbers(table, name, path)


def _of_origin(column: pl.Series) -> bool:
    """Tell whether a column names a judge or a reference model; fractions are values of a model of that name."""
    return tells_origin(column.name, column) and not column.dtype.is_float()


def _looks_like_ids(column: pl.Series, name: str, key: str | None) -> bool:
    """Tell whether whole numbers are an id: by the name, or without another column of prompts by counting up."""
    if not column.dtype.is_integer():
        return False
    if _NAME_OF_AN_ID.fullmatch(name):
        return True
    steps = column.diff().drop_nulls()
    return key is None and column.null_count() == 0 and steps.len() > 1 and bool((steps == 1).all())


def _first(rows: pl.Series) -> int:
    """Return the first row that is true, counted from 1."""
    return int(rows.arg_true()[0]) + 1
