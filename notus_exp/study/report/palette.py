"""How an arm looks: the same colour and marker in every plot, told apart also by the colour-blind.

The marker changes with the colour, so that neither has to be told by its colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from notus_exp.contracts.comparison_file import BASE_MODEL
from notus_exp.reporting.charts import Look
from notus_exp.reporting.figures import COLOURS, INK

_MARKERS = ("o", "s", "^", "D", "v", "P", "h")
_LINES = ("-", "--", ":", "-.")


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Return a look for each arm by its place, and for the base model; up to 42 arms none is like another."""
    found = {BASE_MODEL: Look(INK, "X", "-")}
    for place, arm in enumerate(arms):
        colour, marker = COLOURS[place % len(COLOURS)], _MARKERS[place % len(_MARKERS)]
        found[arm] = Look(colour, marker, _LINES[place // len(COLOURS) % len(_LINES)])
    return found
