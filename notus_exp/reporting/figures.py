"""How every plot is drawn and written: one style, SVG within a page, or a picture file.

SVG within a page has no addresses and no style sheet, and words for those who cannot see it.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from notus_exp.reporting.looks import INK
from notus_exp.reporting.texts import visible

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Those of Okabe and Ito (2008, "Color Universal Design"), which the colour-blind tell apart, without black and yellow:
one of these cannot be seen on dark and the other not on light."""

WIDTH = 5.2
"""Inches of a plot: on a phone its letters are then still of reading size."""
NARROW = 4.4
"""Inches of a plot that stands beside others."""

_STYLE: Any = {
    "svg.fonttype": "none",  # letters stay letters: small files, the page's font, searchable
    "svg.hashsalt": "notus-exp",  # the same figure gives the same ids
    "text.parse_math": False,  # names come from the data: a dollar sign in them is no formula
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
_DROPPED = ("metadata", "style")
_SCALES = {"min": 0.85, "max": 1.5}
"""How small and large a plot may be drawn: its letters have 8.5 to 15 pixels; a narrower page scrolls the plot."""
_FONT = re.compile(r"font-family: [^;]*;? ?")


@contextmanager
def style() -> Iterator[None]:
    """Give the figures made within the block this style, and no other figure."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the letters that Matplotlib's font lacks
        yield


def inline(figure: Figure, name: str, words: str) -> Markup:
    """Return a figure as an `<svg>` element for an HTML page.

    Args:
        figure: Made within `style`.
        name: Goes before every id of the element; two figures of one page have different ones.
        words: What the plot shows, for those who cannot see it.
    """
    stream = io.BytesIO()
    FigureCanvasSVG(figure)  # type: ignore[no-untyped-call]
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", bbox_inches="tight", pad_inches=0.05, transparent=True, metadata=metadata)
    root = ET.fromstring(visible(stream.getvalue().decode()))
    for parent in list(root.iter()):
        for child in [one for one in parent if _local(one.tag) in _DROPPED]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _value(_local(key), value, name) for key, value in element.attrib.items()}
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    width = float(root.attrib["viewBox"].split()[2])
    limits = "; ".join(f"{end}-width: {share * width:.0f}px" for end, share in _SCALES.items())
    root.attrib |= {"role": "img", "aria-label": visible(words), "style": limits}
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=False))


def to_bytes(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """Return a figure as a picture file that stands alone, the same bytes for the same figure.

    In an SVG file the letters are outlines: who opens it need not have a font.

    Args:
        figure: Made within `style`.
        kind: Format of the picture.
    """
    stream = io.BytesIO()
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with matplotlib.rc_context({**_STYLE, "svg.fonttype": "path"}):
        figure.savefig(stream, format=kind, bbox_inches="tight", metadata=metadata)
    return stream.getvalue()


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return _FONT.sub("", value).replace("url(#", f"url(#{name}-").replace(INK, "currentColor")
