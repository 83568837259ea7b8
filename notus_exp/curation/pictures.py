"""The plots of a curation's report, each from plain numbers to a figure; made within `figures.style`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from notus_exp.reporting.figures import COLOURS, NARROW
from notus_exp.reporting.looks import GREY
from notus_exp.reporting.texts import label

CHOSEN, REJECTED = COLOURS[:2]
MOST_LETTERS = 32
"""Of a name beside a bar."""


def histogram(values: np.ndarray, axis: str, colour: str = CHOSEN) -> Figure:
    """Draw a histogram of numbers of shape (n,), with a line at zero and the outer 0.5 % gathered in the end bins."""
    figure = Figure(figsize=(NARROW, 2.7))
    axes = figure.subplots()
    low, high = np.quantile(values, [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    axes.hist(np.clip(values, low, high), bins=np.linspace(low, high, 41).tolist(), color=colour)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_xlabel(axis)
    axes.set_ylabel("pairs")
    return figure


def shares_plot(rows: Sequence[Mapping[str, Any]], series: dict[str, str]) -> Figure:
    """Draw horizontal bars of shares.

    Args:
        rows: One dict a bar group with `name` and a share in [0, 1] for each key of `series`.
        series: Key -> its words, at most two.
    """
    figure = Figure(figsize=(NARROW, 1.1 + 0.34 * len(rows)))
    axes = figure.subplots()
    height = 0.8 / len(series)
    places = np.arange(len(rows))
    for number, ((key, words), colour) in enumerate(zip(series.items(), (CHOSEN, REJECTED), strict=False)):
        axes.barh(places + number * height, [100 * row[key] for row in rows], height, label=words, color=colour)
    names = [label(row["name"] or "(unknown)", MOST_LETTERS) for row in rows]
    axes.set_yticks(places + height * (len(series) - 1) / 2, names)
    axes.invert_yaxis()
    axes.set_xlabel("% of pairs")
    if len(series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure
