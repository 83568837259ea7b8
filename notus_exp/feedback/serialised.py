"""Texts that hold a conversation as JSON or Python writes it, as a CSV file of conversations does."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from notus_exp.config.mapping_settings import MESSAGE_KEYS, ROLES

MESSAGES_AS_TEXT = "messages_as_text"
"""Rule by which a record is set aside where the text of a prompt or an answer is such a one."""

_BEGINNING = re.compile(r"\s*(?:array\()?\[?\s*\{")
_BETWEEN = re.compile(r"\}\s+\{")
"""What NumPy writes between two messages, without a comma."""
_ARRAY = re.compile(r"array\((?=\[)|(?<=\]),\s*dtype=object\)")
"""What NumPy writes around a list in a list."""


def holds_messages(
    text: str, keys: Sequence[tuple[str, str]] = MESSAGE_KEYS, roles: Collection[str] = ROLES.keys()
) -> bool:
    """Say whether a text is, as a whole, a message, a list of messages or a list of parts (`{type: text, text}`).

    JSON is known, Python's `repr`, and NumPy's of an array, which data frames write. A message has both its fields;
    of several one must have a role that is known: any other JSON may well be somebody's answer.

    Args:
        text: The text.
        keys: Fields of a message: whose it is, and what it says.
        roles: Names of roles that are known, in lower case.
    """
    if not _BEGINNING.match(text) or text.rstrip()[-1] not in "]})":
        return False
    return any(_are_messages(value, keys, roles) for value in _readings(text.strip()))


def as_text(name: str) -> str:
    """Return why a record is set aside whose field `name` is such a text."""
    return f"{name} is a text that holds messages, in the form of JSON or of Python, and not what was said"


def _readings(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return
    for written in (text, _ARRAY.sub("", _BETWEEN.sub("}, {", text))):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's, of backslashes in a text that it is asked to read
                yield ast.literal_eval(written)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue


def _are_messages(value: Any, keys: Sequence[tuple[str, str]], roles: Collection[str]) -> bool:
    many = value if isinstance(value, list) else [value]
    if not many or not all(isinstance(one, dict) for one in many):
        return False
    if isinstance(value, list) and all(one.get("type") == "text" and isinstance(one.get("text"), str) for one in many):
        return True
    for whose, said in keys:
        named = [one.get(whose) for one in many if isinstance(one.get(said, 0), str | list | None)]
        if len(named) == len(many) and all(isinstance(name, str) for name in named):
            return any(name.strip().lower() in roles for name in named)
    return False
