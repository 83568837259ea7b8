"""Errors that speak of a group's setting, told of the item of a list that has such settings of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from notus_exp.errors import UserError


@contextmanager
def told_as(key: str, group: re.Pattern[str]) -> Iterator[None]:
    """Let an error that speaks of a setting of a group speak of that setting of an item.

    Args:
        key: The item's key.
        group: Finds what begins the group's settings in a text, such as `judge.`.

    Raises:
        UserError: The one that was raised within, with the key.
    """
    try:
        yield
    except UserError as error:
        message, hint = (group.sub(f"{key}.", text) for text in (error.message, error.hint))
        raise UserError(message if key in message else f"{key}: {message}", hint) from error
