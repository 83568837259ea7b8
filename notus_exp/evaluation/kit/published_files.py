"""Reading files that benchmarks publish: every record, or an error that names the place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from notus_exp.config.data_settings import FORMER
from notus_exp.disk.given import LARGEST, check_header, usable
from notus_exp.errors import UserError, did_you_mean, first_line
from notus_exp.feedback.records import Malformed, read_files

_MUST_BE = {
    "text": "a text of whole Unicode characters",
    "integer": "an integer",
    "number": f"a usable number, from -{LARGEST:.0e} to {LARGEST:.0e}",
}


def read_objects(path: Path, keys: Sequence[str], what: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON, JSON-lines or parquet file (.gz may follow).

    Args:
        path: The file.
        keys: What each object must have.
        what: What the file holds, for the errors.

    Raises:
        UserError: No such file, nothing in it, a record that is no object, or one that lacks a key.
    """
    _check(path, what)
    if not path.name.lower().endswith(FORMER):
        raise UserError(f"{what}: cannot read the type of '{path}'", f"use one of {', '.join(FORMER)}")
    try:
        records = list(read_files([path], lambda share: None))
    except UserError as error:
        raise UserError(f"{what}: {error.message.removeprefix('data.path: ')}", error.hint) from error
    for record in records:
        if isinstance(record, Malformed):
            raise UserError(f"{what}: '{path}' record {record.line}: {record.reason}", "mend the file there")
        missing = [key for key in keys if key not in record.value]
        if missing:
            known = did_you_mean(missing[0], record.value)
            raise UserError(f"{what}: '{path}' record {record.line} has no '{missing[0]}'", known)
    if not records:
        raise UserError(f"{what}: '{path}' holds nothing", "write the file again")
    return [record.value for record in records if not isinstance(record, Malformed)]


def require(
    row: dict[str, Any], key: str, kind: Literal["text", "integer", "number"], place: str, *, null: bool = False
) -> None:
    """Check the type of a record's value.

    Args:
        row: The record; it has the key.
        key: Of the value.
        kind: What it must be: Unicode text, an integer of 64 bits, or a number that can be computed with.
        place: File and record, for the error.
        null: None is fine too, and so is NaN for a number.

    Raises:
        UserError: It is something else.
    """
    value = row[key]
    if null and (value is None or (kind == "number" and isinstance(value, float) and value != value)):
        return
    types: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "number": (int, float)}
    good = isinstance(value, types[kind]) and not isinstance(value, bool)
    if good and kind == "text":
        good = not any("\ud800" <= character <= "\udfff" for character in value)
    if good and kind != "text":
        good = abs(value) < 2**63 if kind == "integer" else usable(value)
    if not good:
        raise UserError(f"{place}: {key} is {ascii(value)[:60]}", f"it must be {_MUST_BE[kind]}" + ", or null" * null)


def read_csv(path: Path, what: str) -> pl.DataFrame:
    """Return a CSV file, its types from all its rows; an unnamed first column is called "".

    Raises:
        UserError: No such file, nothing in it, not CSV, or two columns of one name.
    """
    _check(path, what)
    check_header(path, what)
    try:
        return pl.read_csv(path, infer_schema_length=None, glob=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as problem:
        raise UserError(f"{what}: '{path}' is not CSV: {first_line(problem)}", "write the file again") from problem


def one_of(table: pl.DataFrame, names: Sequence[str], path: Path, what: str) -> str:
    """Return the first of `names` that is a column.

    Raises:
        UserError: None of them is.
    """
    found = next((name for name in names if name in table.columns), None)
    if found is None:
        columns = ", ".join(f"'{name}'" for name in table.columns[:20])
        raise UserError(f"{what}: '{path}' has no column {' or '.join(names)}", f"its columns: {columns}")
    return found


def _check(path: Path, what: str) -> None:
    if not path.is_file():
        raise UserError(f"{what}: there is no file '{path}'", "check the path")


def refuse_twice(texts: Sequence[str], what: str, path: Path) -> None:
    """Refuse a file that holds a text twice.

    Raises:
        UserError: Showing the first such text.
    """
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise UserError(f"{what}: '{path}' holds this twice: {text[:80]!r}", "keep one of them")
        seen.add(text)
