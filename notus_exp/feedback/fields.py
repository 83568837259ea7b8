"""What a path of `data.mapping` leads to in a raw record."""

from __future__ import annotations

import re
from typing import Any

from notus_exp.config.mapping_paths import EACH, FieldPath
from notus_exp.feedback.table import number

ABSENT = object()
"""Stands for a field that a record does not have; one that is null is None."""
_TRUTHS = {"true": 1.0, "false": 0.0}
_WHOLE = re.compile(r"-?\d+\.0", re.ASCII)
_INDEX = re.compile(r"-?\d+", re.ASCII)


def find(value: Any, path: FieldPath) -> Any:
    """Return what is at a path: with `*` a list of what each item has; `ABSENT` where there is no such field."""
    return _find(value, path.parts)


def score_at(found: Any, path: FieldPath, name: str) -> float | None:
    """Return the number that a SCORE means, or None where it is missing.

    Args:
        found: What `find` gave, or an item of it.
        path: The path, with what is to be made of the value.
        name: The field, for the message.

    Raises:
        RowError: It is no usable number.
    """
    if missing(found):
        return None
    if path.wanted is not None:
        return float(shown(found) == shown(path.wanted))
    truth = _TRUTHS.get(shown(found)) if isinstance(found, bool | str) else None
    score = number(found, name) if truth is None else truth
    return -score if path.negative and score is not None else score


def missing(found: Any) -> bool:
    """Say whether a field is not there, null or NaN."""
    return found is ABSENT or found is None or (isinstance(found, float) and found != found)


def shown(value: Any) -> str:
    """Return a value as it is written after `is`: true and false in lower case, whole numbers without a point.

    A text that holds one of these is the same, as in a CSV file.
    """
    text = str(value).strip()
    if text.lower() in _TRUTHS:
        return text.lower()
    return text.removesuffix(".0") if _WHOLE.fullmatch(text) else text


def _find(value: Any, parts: tuple[str, ...]) -> Any:
    if not parts:
        return value
    first, rest = parts[0], parts[1:]
    if isinstance(value, dict):
        whole = ".".join(parts)
        if rest and whole in value:
            return value[whole]
        return _find(value[first], rest) if first in value else ABSENT
    if isinstance(value, list):
        if first == EACH:
            return [_find(item, rest) for item in value]
        if _INDEX.fullmatch(first) and -len(value) <= int(first) < len(value):
            return _find(value[int(first)], rest)
    return ABSENT
