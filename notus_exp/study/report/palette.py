"""How an arm looks: the same colour, marker and dash in every plot, told apart also by the colour-blind.

Marker and dash change with the colour, so that none has to be told by its colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from notus_exp.contracts.comparison_file import BASE_MODEL
from notus_exp.reporting.figures import COLOURS
from notus_exp.reporting.looks import INK, Look

_MARKERS = ("o", "^", "P", "v", "*", "<", ">")
"""No two of them look alike at ten pixels, as a circle, a square, a diamond and a hexagon do."""
_LINES = ("-", "--", "-.", ":")


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Return a look for each arm by its place, and for the base model.

    Up to 42 arms no two have both colour and marker in common, and up to 12 none both colour and dash.
    """
    found = {BASE_MODEL: Look(INK, "X", "-")}
    for place, arm in enumerate(arms):
        places = (place % len(kind) for kind in (COLOURS, _MARKERS, _LINES))
        found[arm] = Look(*(kind[at] for kind, at in zip((COLOURS, _MARKERS, _LINES), places, strict=True)))
    return found
