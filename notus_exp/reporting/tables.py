"""A report as data, and the two ways to show it: tables with sentences, or JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from notus_exp.reporting.texts import in_one_line

_ACTING = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON need not escape and `visible` would change."""


INDENT, GAP = "  ", 2
"""What stands before cells that are below their row's name, and the columns between cells."""


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
        commands: What to type next, a line each however narrow the terminal is: a broken line cannot be pasted.
        refused: What could not be scored; where there is anything the command's exit code is not 0.
    """

    data: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
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
    for command in report.commands:
        console.print(command, soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """Print a table; where the terminal is too narrow, each row's name has a line of its own and its cells stand below.

    There an interval goes below its value. Where that does not fit either each cell has a line, with its column's name:
    a number or a word is broken only where it is longer than a line, and nothing is lost.
    """
    if table.title:
        console.print(_cell(table.title), style="table.title")  # by itself: a table breaks it at its own width
    widths = _widths_below_names(table, console.width)
    if widths is None and _breaks_words(table, console.width):
        _print_cells(table, console)
        return
    if widths is None:
        console.print(_drawn(table, [table.columns, *table.rows], [None] * len(table.columns)))
        return
    if table.columns[0]:
        console.print(_cell(table.columns[0]), style="table.header")
    console.print(_drawn(table, [table.columns[1:]], widths))
    for name, *cells in table.rows:
        console.print(_cell(name))
        console.print(_drawn(table, [table.columns[1:], cells], widths, header=False))


def _print_cells(table: Table, console: Console) -> None:
    """Print a table with a line for each name and each cell."""
    if table.columns[0]:
        console.print(_cell(table.columns[0]), style="table.header")
    for name, *cells in table.rows:
        console.print(_cell(name))
        for column, cell in zip(table.columns[1:], cells, strict=True):
            if cell:
                console.print(Padding(_cell(f"{column}: {cell}"), (0, 0, 0, len(INDENT))))


def _drawn(
    table: Table, lines: Sequence[Sequence[str]], widths: Sequence[int | None], *, header: bool = True
) -> RenderableType:
    """Return a table with a header and rows; where widths are given, of the columns behind the first."""
    below = widths[0] is not None
    drawn = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=header)
    for place, (column, width) in enumerate(zip(lines[0], widths, strict=True)):
        known = table.columns[place + below]
        words = known in table.left or not (place or below)
        drawn.add_column(_fitted(column, width), justify="left" if words else "right", overflow="fold", width=width)
    for row in lines[1:]:
        drawn.add_row(*(_fitted(cell, width) for cell, width in zip(row, widths, strict=True)))
    return Padding(drawn, (0, 0, 0, len(INDENT)), expand=False) if below else drawn


def _widths_below_names(table: Table, width: int) -> list[int] | None:
    """Return the widths of the columns behind the first where the table is printed with names on lines of their own.

    None where it fits as it is, and where it does not fit so either without breaking a word.
    """
    lines = [table.columns, *table.rows]
    whole = [max(cell_len(in_one_line(line[place])) for line in lines) for place in range(len(table.columns))]
    if len(whole) < 3 or sum(whole) + GAP * (len(whole) - 1) <= width:
        return None
    room = width - len(INDENT) - GAP * (len(whole) - 2)
    if sum(whole[1:]) <= room:
        return whole[1:]
    parts = [[part for line in lines for part in _parts(line[place])] for place in range(1, len(whole))]
    most = [max(map(cell_len, column)) for column in parts]
    least = [max(cell_len(word) for part in column for word in part.split(" ")) for column in parts]
    spare = room - sum(most)
    for place in sorted(range(len(most)), key=lambda place: least[place] - most[place]):
        if table.columns[place + 1] in table.left and spare < 0:  # words are broken before numbers are
            given = min(-spare, most[place] - least[place])
            most[place], spare = most[place] - given, spare + given
    return most if spare >= 0 else None


def _breaks_words(table: Table, width: int) -> bool:
    """Say whether columns may be too narrow for a word that a line of its own could hold."""
    lines = [table.columns, *table.rows]
    whole = [max(cell_len(in_one_line(line[place])) for line in lines) for place in range(len(table.columns))]
    longest = max(cell_len(word) for line in lines for cell in line for word in in_one_line(cell).split(" "))
    return len(whole) >= 3 and sum(whole) + GAP * (len(whole) - 1) > width and longest <= width - len(INDENT)


def _fitted(text: str, width: int | None) -> Text:
    """Return a cell on one line where it fits or is not told how wide it may be; else on those of `_parts`."""
    if width is None or cell_len(in_one_line(text)) <= width:
        return _cell(text)
    return Text("\n".join(_parts(text)))


def _parts(text: str) -> list[str]:
    """Return a cell's lines where there is no room: a value, and its interval below it."""
    value, bracket, rest = in_one_line(text).partition(" [")
    return [value, f"[{rest}"] if bracket else [value]


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


def digits_that_tell(values: Sequence[float | None], digits: int | None) -> int | None:
    """Return how many digits numbers that stand together are shown with; None, significant ones, where all vanish.

    Args:
        values: A value and the ends of its interval; what is not known does not count.
        digits: After the point, as is usual for what they measure.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    vanish = digits is not None and all(not float(f"{value:.{digits}f}") for value in known)
    return None if vanish and any(known) else digits


def with_span(estimate: Mapping[str, Any] | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return `value, low, high` as "value [low to high]", without an interval that is not known; "-" for none."""
    if estimate is None:
        return "-"
    shown = digits_that_tell([estimate[name] for name in ("value", "low", "high")], digits)
    ends = span(estimate["low"], estimate["high"], shown, sign=sign)
    return number(estimate["value"], shown, sign=sign) + ("" if ends == "-" else f" [{ends}]")


def lasting(seconds: float) -> str:
    """Return a time as text, in the unit in which it is read: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def p_value(p: float | None) -> str:
    """Return a p with four digits, small ones as a power of ten; "-" where there is none."""
    return "-" if p is None or math.isnan(p) else f"{p:.4f}" if p >= 0.0001 else f"{p:.1e}"
