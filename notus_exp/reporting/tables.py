"""A report as data, and the two ways to show it: tables with sentences, or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text


class Table(NamedTuple):
    """A title, the column names and the cells, all text; the first column is left-aligned, numbers are to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


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
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    for table in report.tables:
        console.print(_rich(table))
        console.print()
    for sentence in report.sentences:
        console.print(Text(sentence))


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


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with some digits after the point; "-" for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def span(low: float, high: float, digits: int = 2) -> str:
    """Return an interval as text; "-" where it is not known."""
    return "-" if math.isnan(low) or math.isnan(high) else f"{low:.{digits}f} to {high:.{digits}f}"


def p_value(p: float) -> str:
    """Return a p with four digits, small ones as a power of ten."""
    return "-" if math.isnan(p) else f"{p:.4f}" if p >= 0.0001 else f"{p:.1e}"


def _rich(table: Table) -> RichTable:
    drawn = RichTable(title=Text(table.title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="left" if index == 0 else "right")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn
