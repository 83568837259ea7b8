"""The constraints that a prompt of the simulated world states, read back from its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from string import Formatter
from typing import Any

from notus_exp.feedback.simulated.constraints import Constraint
from notus_exp.feedback.simulated.prompts import NUMBERS, WORDINGS

_COUNTS = {word: number for number, word in NUMBERS.items()}
_PHRASE, _LISTED = r'[^"\n]+', r'"[^"\n]+"(?: and "[^"\n]+")*'
_FIELDS = {
    "count": rf"(?P<count>{'|'.join(_COUNTS)})",
    "s": "s?",
    "phrase": rf"(?P<phrase>{_PHRASE})",
    "listed": rf"(?P<listed>{_LISTED})",
    "n": r"(?P<n>[0-9]+)",
    "a": r"(?P<a>[0-9]+)",
    "b": r"(?P<b>[0-9]+)",
}
_PARAMS: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    "bullets": lambda found: {"n": _COUNTS[found["count"]]},
    "sentences": lambda found: {"n": _COUNTS[found["count"]]},
    "begin": lambda found: {"phrase": found["phrase"]},
    "end": lambda found: {"phrase": found["phrase"]},
    "include": lambda found: {"words": _names(found["listed"])},
    "max_words": lambda found: {"n": int(found["n"])},
    "min_words": lambda found: {"n": int(found["n"])},
    "json": lambda found: {"keys": _names(found["listed"])},
    "sum": lambda found: {"a": int(found["a"]), "b": int(found["b"])},
}
"""What a wording's fields say; the other kinds have no parameters."""


def stated_constraints(instruction: str) -> list[Constraint]:
    """Return the constraints that an instruction states in the words of the simulated world, in no order.

    Args:
        instruction: Any text; one that is not of that world may state none, and gives [].
    """
    found = []
    for kind, patterns in _patterns().items():
        match = next(filter(None, (pattern.search(instruction) for pattern in patterns)), None)
        if match:
            found.append(Constraint(kind, _PARAMS[kind](match.groupdict()) if kind in _PARAMS else {}))
    return found


@cache
def _patterns() -> dict[str, list[re.Pattern[str]]]:
    return {kind: [re.compile(_pattern(wording)) for wording in wordings] for kind, wordings in WORDINGS.items()}


def _pattern(wording: str) -> str:
    """Return the expression for a wording, with a group for each of its fields."""
    return "".join(re.escape(text) + (_FIELDS[name] if name else "") for text, name, _, _ in Formatter().parse(wording))


def _names(listed: str) -> list[str]:
    return re.findall(r'"([^"\n]+)"', listed)
