"""Which completion of a prompt is taken, by the place of its score among the others': how it is written, and read."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from notus_exp.errors import UserError, did_you_mean

NAMED = ("highest", "lowest", "second_best", "median", "random")
WITH_NUMBER = ("quantile", "mean_minus", "mean_plus")
_WRITTEN = (*NAMED, "quantile(0.25)", "mean_minus(2)", "mean_plus(1)")


class PlaceRule(NamedTuple):
    """A place among the scores of a prompt.

    Attributes:
        kind: `highest`, `lowest`, `second_best` (the best below the top), `random`, or what the nearest completion is
            taken to: `quantile` (linear between two scores), `mean_minus` or `mean_plus` (mean and sample standard
            deviation of the prompt's scores).
        number: The quantile's share, or how many standard deviations; 0 where there is none.
    """

    kind: str
    number: float = 0.0


def place_of(text: str, key: str) -> PlaceRule:
    """Read a place; the median is the quantile 0.5.

    Args:
        text: Such as `lowest` or `mean_minus(2)`.
        key: The setting that holds it.

    Raises:
        UserError: It is none.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*([^()]*?)\s*\))?\s*", text)
    name, given = (found[1].lower(), found[2]) if found else (text, None)
    if name in NAMED and given is None:
        return PlaceRule("quantile", 0.5) if name == "median" else PlaceRule(name)
    if name not in WITH_NUMBER:
        raise UserError(f"{key}={text} is no place", did_you_mean(name, _WRITTEN))
    try:
        number = float(given or "")
    except ValueError:
        number = math.nan
    most = 1.0 if name == "quantile" else 100.0
    if not 0 <= number <= most:
        raise UserError(f"{key}={text} needs a number from 0 to {most:g}", f"write {name}({0.25 if most == 1 else 2})")
    return PlaceRule(name, number)
