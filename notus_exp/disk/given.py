"""What users' files hold, read strictly: JSON in which no key stands twice, and numbers that can be computed with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from notus_exp.errors import UserError

LARGEST = 1e9
"""A number beyond it is not usable: reports keep six decimals, which a double holds up to here, and sums of squares
overflow later on."""


class DuplicateKeyError(ValueError):
    """An object of a JSON text has a key twice: nobody can say which of the two values holds."""


def parse(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        DuplicateKeyError: An object has a key twice; Python's reader would take the last one without a word.
        ValueError: It is not JSON, has a number with thousands of digits, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """Return the value of the JSON that begins at a place of a text, and where it ends.

    Raises:
        DuplicateKeyError: As `parse`.
        ValueError: No JSON begins there; it is not whole, has a number with thousands of digits, or is nested too
            deeply.
    """
    try:
        return _READER.raw_decode(text, start)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def usable(value: float) -> bool:
    """Say whether a number can be computed with: finite, and not beyond `LARGEST`."""
    return abs(value) <= LARGEST


def check_header(path: Path, what: str) -> None:
    """Refuse a CSV file two of whose columns have one name, which reading would rename.

    Args:
        path: The file.
        what: What the file holds, for the error.

    Raises:
        UserError: It has such columns, or no header that can be read.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        try:
            names = next(csv.reader(stream), [])
        except csv.Error as problem:
            raise UserError(f"{what}: '{path}' is not CSV: {problem}", "write the file again") from problem
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{what}: '{path}' has {names.count(twice)} columns '{twice}'", "give each column a name of its own"
        )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise DuplicateKeyError(f"the key {twice[:60]!r} stands twice in one object")
    return found


_READER = json.JSONDecoder(object_pairs_hook=_each_once)
