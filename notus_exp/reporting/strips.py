"""Intervals as the cells of a table: every row on one scale, beside its name and its numbers.

A strip is an SVG whose places are percentages, so it is as wide as its cell and its lines and markers stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.looks import INK, Look, marker_path
from notus_exp.reporting.texts import visible

_PAD = 0.05
"""Room beyond the outermost ends, as a share of what is drawn."""
_EDGE = 9.0
"""Percent from either end within which no tick has a number: it would be cut."""
_TICKS = 5
"""Steps between ticks at most: their numbers stand beside each other also on a phone."""


class Scale(NamedTuple):
    """What the strips of a table have in common, in the unit of its values.

    Attributes:
        low: The left end.
        high: The right end.
        ticks: Places of thin lines, with a number above the table.
        origin: The place of a strong line: of no difference; None where there is none.
        band: Shade from `-band` to `band`: differences that are held to be equivalent.
    """

    low: float
    high: float
    ticks: list[float]
    origin: float | None = 0.0
    band: float | None = None

    def place(self, value: float) -> str:
        """Return a value's place from the left in percent."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"


def scale_of(rows: Iterable[MeasuredValue], *, origin: float | None = 0.0, band: float | None = None) -> Scale:
    """Return the scale that holds all estimates, their intervals, the origin and the band."""
    ends = [row[name] for row in rows for name in ("value", "low", "high")]  # type: ignore[literal-required]
    known = [float(end) for end in ends if end is not None and math.isfinite(end)]
    known += [] if origin is None else [origin]
    known += [] if band is None else [-band, band]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = _PAD * (high - low)
    low, high = low - room, high + room
    ticks = [float(tick) for tick in MaxNLocator(_TICKS).tick_values(low, high) if low < tick < high]
    return Scale(low, high, ticks, origin, band)


def strip(estimate: MeasuredValue, scale: Scale, look: Look, words: str, *, filled: bool = True) -> Markup:
    """Return an estimate with its interval as an `<svg>` for a cell; only the scale's lines where it has no value.

    Args:
        estimate: In the unit of the scale.
        scale: Of the table.
        look: Colour and marker.
        words: What it shows, for those who cannot see it.
        filled: A full marker: of what differs.
    """
    drawn = _lines(scale)
    colour = "currentColor" if look.colour == INK else look.colour
    if estimate["value"] is not None:
        if estimate["low"] is not None and estimate["high"] is not None:
            ends = scale.place(estimate["low"]), scale.place(estimate["high"])
            drawn += Markup('<line x1="{}" x2="{}" y1="14" y2="14" stroke="{}" stroke-width="2.2"/>').format(
                *ends, Markup(colour)
            )
        drawn += Markup('<svg x="{}" y="14" width="1" height="1" overflow="visible">{}</svg>').format(
            scale.place(estimate["value"]), marker_path(look, filled=filled)
        )
    return Markup('<svg class="strip" height="28" width="100%" role="img" aria-label="{}">{}</svg>').format(
        visible(words), drawn
    )


def axis(scale: Scale) -> Markup:
    """Return the numbers of a scale's ticks as an `<svg>` for the head of the strips."""
    shown = [tick for tick in scale.ticks if _EDGE < float(scale.place(tick)[:-1]) < 100 - _EDGE]
    digits = max((len(f"{tick:g}".partition(".")[2]) for tick in shown if "e" not in f"{tick:g}"), default=0)
    texts = [f"{tick:.{digits}f}" if 1e-4 <= abs(tick) < 1e5 or not tick else f"{tick:g}" for tick in shown]
    numbers = Markup("").join(
        Markup('<text x="{}" y="13" text-anchor="middle">{}</text>').format(
            scale.place(tick), text.replace("-", "\N{MINUS SIGN}")
        )
        for tick, text in zip(shown, texts, strict=True)
    )
    return Markup('<svg class="strip ticks" height="18" width="100%" aria-hidden="true">{}</svg>').format(numbers)


def _lines(scale: Scale) -> Markup:
    drawn = Markup("")
    if scale.band is not None:
        low, high = scale.place(-scale.band), scale.place(scale.band)
        width = f"{float(high[:-1]) - float(low[:-1]):.2f}%"
        drawn += Markup('<rect class="band" x="{}" width="{}" y="0" height="28"/>').format(low, width)
    for tick in scale.ticks:
        drawn += Markup('<line class="tick" x1="{0}" x2="{0}" y1="0" y2="28"/>').format(scale.place(tick))
    if scale.origin is not None:
        drawn += Markup('<line class="origin" x1="{0}" x2="{0}" y1="0" y2="28"/>').format(scale.place(scale.origin))
    return drawn
