"""A report as data, and the two ways to show it: tables with sentences, or JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from notus_exp.reporting.texts import in_one_line

_ACTING = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON need not escape and `visible` would change."""


class Table(NamedTuple):
    """What a reader sees at a glance; all of it is text.

    Attributes:
        title: Words above it.
        columns: Their names.
        rows: Their cells.
        left: Names of the columns of words beside the first; the others hold numbers, which end at the right.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[str] = ()


@dataclass
class Report:
    """What a subcommand found.

    Attributes:
        data: All figures, as JSON's types, NamedTuples and NaN, which JSON shows as objects and null.
        tables: The figures for a reader.
        sentences: What they mean, in words.
        refused: What could not be scored; where there is anything the command's exit code is not 0.
    """

    data: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def show(report: Report, console: Console, *, as_json: bool) -> None:
    """Print a report: all of it as one JSON object, or its tables and then its sentences."""
    if as_json:
        text = json.dumps(plain(report.data), indent=2, ensure_ascii=False, allow_nan=False)
        console.print(_ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text), soft_wrap=True)
        return
    for table in report.tables:
        print_table(table, console)
        console.print()
    for sentence in report.sentences:
        console.print(sentence)


def print_table(table: Table, console: Console) -> None:
    """Print a table; a cell that the terminal is too narrow for goes on in a further line, and loses nothing."""
    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(table.columns):
        words = place == 0 or column in table.left
        drawn.add_column(_cell(column), justify="left" if words else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(_cell, row))
    if table.title:
        console.print(_cell(table.title), style="table.title")  # by itself: a table breaks it at its own width
    console.print(drawn)


def _cell(text: str) -> Text:
    return Text(in_one_line(text))


def plain(value: Any) -> Any:
    """Return a value as JSON's types: NamedTuples as objects, NaN and infinities as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def number(value: float | None, digits: int | None = 2, *, sign: bool = False) -> str:
    """Return a number as text; "-" for None and NaN.

    Args:
        value: What is shown; one that rounds to 0 has no sign.
        digits: After the point; None for three significant ones, or all before the point.
        sign: Mark what is above 0 with a plus.
    """
    if value is None or math.isnan(value):
        return "-"
    shape = f".{digits}f" if digits is not None else ".0f" if 1000 <= abs(value) < 1e9 else ".3g"
    mark = "+" if sign and float(f"{value:{shape}}") else ""
    return f"{value:{mark}z{shape}}"


def span(low: float | None, high: float | None, digits: int | None = 2, *, sign: bool = False) -> str:
    """Return an interval as text; "-" where it is not known."""
    ends = [number(end, digits, sign=sign) for end in (low, high)]
    return "-" if "-" in ends else " to ".join(ends)


def with_span(estimate: Mapping[str, Any] | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return `value, low, high` as "value [low to high]", without an interval that is not known; "-" for none."""
    if estimate is None:
        return "-"
    ends = span(estimate["low"], estimate["high"], digits, sign=sign)
    return number(estimate["value"], digits, sign=sign) + ("" if ends == "-" else f" [{ends}]")


def p_value(p: float | None) -> str:
    """Return a p with four digits, small ones as a power of ten; "-" where there is none."""
    return "-" if p is None or math.isnan(p) else f"{p:.4f}" if p >= 0.0001 else f"{p:.1e}"
