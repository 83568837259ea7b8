"""How an arm looks: the same colour and marker in every plot, told apart also by the colour-blind.

The colours are those of Okabe and Ito (2008, "Color Universal Design") without black and yellow, of which one cannot be
seen on dark and the other not on light; the marker changes too, so that neither has to be told by its colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from notus_exp.comparison.words import BASE_MODEL
from notus_exp.study.report.svg import INK

GREY = "#8a8f98"
"""Of what is exploratory."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "h")
_LINES = ("-", "--", ":", "-.")


class Look(NamedTuple):
    """Colour (hex), Matplotlib's marker and its line style."""

    colour: str
    marker: str
    line: str


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Return a look for each arm by its place, and for the base model; up to 42 arms none is like another."""
    found = {BASE_MODEL: Look(INK, "X", "-")}
    for place, arm in enumerate(arms):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        found[arm] = Look(colour, marker, _LINES[place // len(_COLOURS) % len(_LINES)])
    return found
