"""From a Matplotlib figure to SVG within a page: no addresses, no style sheet, words for those who cannot see it."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1b1c1d"
"""Drawn as the colour of the page's text, so that a plot can be read on light and on dark."""

_STYLE: Any = {
    "svg.fonttype": "none",  # letters stay letters: small files, the page's font, searchable
    "svg.hashsalt": "notus-exp",  # the same figure gives the same ids
    "text.parse_math": False,  # names come from the data: a dollar sign in them is no formula
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
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
    """Give the figures made within the block the report's style, and no other figure."""
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
    root = ET.fromstring(stream.getvalue())
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


def visible(text: str) -> str:
    """Return a text in which control characters, which neither XML nor HTML may hold, are drawn as signs."""
    return "".join(_sign(letter) for letter in text)


def label(text: str, most: int = 30) -> str:
    """Return a name for a plot: on one line, of at most `most` characters, its end kept where it is cut."""
    line = visible(" ".join(text.split()))
    if len(line) <= most:
        return line
    head = most * 2 // 3
    return f"{line[:head]}…{line[head + 1 - most :]}"


def _sign(letter: str) -> str:
    code = ord(letter)
    if code < 0x20 and letter not in "\n\t":
        return chr(0x2400 + code)
    return (
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" else letter
    )


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return _FONT.sub("", value).replace("url(#", f"url(#{name}-").replace(INK, "currentColor")
