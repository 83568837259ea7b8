"""How an arm looks wherever it stands: colour, marker and line; and the marker as a sign within a page."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup

INK = "#1b1c1d"
"""Drawn as the colour of the page's text, so that a plot can be read on light and on dark."""

GREY = "#8a8f98"
"""Of what stands in the background."""

_PATHS = {
    "o": "M-4.4 0a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0 -8.8 0z",
    "s": "M-4-4h8v8h-8z",
    "^": "M0-5L5 4H-5z",
    "v": "M0 5L5-4H-5z",
    "<": "M-5 0L4-5V5z",
    ">": "M5 0L-4-5V5z",
    "D": "M0-5.4L5.4 0L0 5.4L-5.4 0z",
    "P": "M-1.6-5.2h3.2v3.6h3.6v3.2h-3.6v3.6h-3.2v-3.6h-3.6v-3.2h3.6z",
    "*": "M0-6L1.41-1.94L5.71-1.85L2.28.74L3.53 4.85L0 2.4L-3.53 4.85L-2.28.74L-5.71-1.85L-1.41-1.94z",
    "X": "M-5-2.7L-2.7-5L0-2.3L2.7-5L5-2.7L2.3 0L5 2.7L2.7 5L0 2.3L-2.7 5L-5 2.7L-2.3 0z",
}
"""Matplotlib's markers as paths around (0, 0), of about 10 pixels."""
_DASHES = {"-": "none", "--": "7 3", "-.": "8 2.5 2 2.5", ":": "2 2.5"}
"""Matplotlib's line styles as dashes of an SVG path."""


class Look(NamedTuple):
    """Colour (hex), Matplotlib's marker and its line style."""

    colour: str
    marker: str
    line: str


UNKNOWN_LOOK = Look(GREY, "o", "-")
"""Of what is no arm of the study."""


def marker_path(look: Look, *, filled: bool = True) -> Markup:
    """Return the `<path>` of a marker around (0, 0)."""
    colour = "currentColor" if look.colour == INK else look.colour
    face = colour if filled else "var(--page)"
    return Markup('<path d="{}" fill="{}" stroke="{}" stroke-width="1.4"/>').format(
        _PATHS[look.marker], Markup(face), Markup(colour)
    )


def sign(look: Look) -> Markup:
    """Return the marker as an inline `<svg>` to stand before a name; it says nothing that the name does not."""
    return Markup('<svg class="sign" viewBox="-7 -7 14 14" aria-hidden="true">{}</svg>').format(marker_path(look))


def line_sign(look: Look) -> Markup:
    """Return the marker on its line, with the line's dash, for the legend of curves."""
    colour = "currentColor" if look.colour == INK else look.colour
    return Markup(
        '<svg class="lined" viewBox="0 0 36 14" aria-hidden="true"><path d="M0 7H36" stroke="{}" stroke-width="2"'
        ' stroke-dasharray="{}"/><g transform="translate(18 7)">{}</g></svg>'
    ).format(Markup(colour), _DASHES[look.line], marker_path(look))
