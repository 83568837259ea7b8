"""The plots of a curation's report, each from plain numbers to a figure; made within `figures.style`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from notus_exp.contracts.curation_file import StrategyTruth
from notus_exp.reporting.figures import COLOURS, GREY, WIDTH
from notus_exp.reporting.texts import label

CHOSEN, REJECTED = COLOURS[:2]
MOST_LETTERS = 32
"""Of a name beside a bar."""


def agreement_plot(names: Sequence[str], shares: Sequence[Sequence[float | None]]) -> Figure:
    """Draw how often two strategies choose the same response.

    Args:
        names: Of the strategies, shape (s,).
        shares: Shares in [0, 1], shape (s, s); None is left blank.
    """
    size = len(names)
    figure = Figure(figsize=(2.6 + 0.75 * size, 2.0 + 0.6 * size))
    axes = figure.subplots()
    values = np.array([[np.nan if share is None else 100 * share for share in row] for row in shares], dtype=float)
    axes.pcolormesh(values, vmin=0, vmax=100, cmap="Blues", edgecolor="white", linewidth=1)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = "white" if value > 60 else "black"  # of the cell, whatever the page's is
            axes.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", color=ink)
    places, shown = np.arange(size) + 0.5, [label(name) for name in names]
    axes.set_xticks(places, shown, rotation=40, ha="right")
    axes.set_yticks(places, shown)
    axes.set_ylim(size, 0)
    axes.set_title("Same chosen response, % of prompts")
    return figure


def histogram(values: np.ndarray, title: str, axis: str, colour: str = CHOSEN) -> Figure:
    """Draw a histogram of numbers of shape (n,), with a line at zero and the outer 0.5 % gathered in the end bins."""
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots()
    low, high = np.quantile(values, [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    axes.hist(np.clip(values, low, high), bins=np.linspace(low, high, 41).tolist(), color=colour)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_title(title)
    axes.set_xlabel(axis)
    axes.set_ylabel("pairs")
    return figure


def shares_plot(rows: Sequence[Mapping[str, Any]], title: str, series: dict[str, str]) -> Figure:
    """Draw horizontal bars of shares.

    Args:
        rows: One dict a bar group with `name` and a share in [0, 1] for each key of `series`.
        title: Title of the plot.
        series: Key -> its words, at most two.
    """
    figure = Figure(figsize=(WIDTH, 1.4 + 0.34 * len(rows)))
    axes = figure.subplots()
    height = 0.8 / len(series)
    places = np.arange(len(rows))
    for number, ((key, words), colour) in enumerate(zip(series.items(), (CHOSEN, REJECTED), strict=False)):
        axes.barh(places + number * height, [100 * row[key] for row in rows], height, label=words, color=colour)
    names = [label(row["name"] or "(unknown)", MOST_LETTERS) for row in rows]
    axes.set_yticks(places + height * (len(series) - 1) / 2, names)
    axes.invert_yaxis()
    axes.set_xlabel("% of pairs")
    axes.set_title(title)
    if len(series) > 1:
        axes.legend(loc="lower right")
    return figure


def truth_plot(truth: Mapping[str, StrategyTruth]) -> Figure:
    """Draw, per strategy, how often the choice is truly right, with intervals."""
    figure = Figure(figsize=(WIDTH, 1.6 + 0.42 * len(truth)))
    axes = figure.subplots()
    measures = {
        "chosen is the truly best": [one["best"] for one in truth.values()],
        "chosen is truly better than rejected": [one["better"] for one in truth.values()],
    }
    for number, ((words, shares), colour) in enumerate(zip(measures.items(), (CHOSEN, REJECTED), strict=True)):
        found = [(place, share) for place, share in enumerate(shares) if share["n"]]
        parts = [(share["value"], share["low"], share["high"]) for _, share in found]
        values, low, high = 100 * np.array(parts, dtype=float).reshape(-1, 3).T
        below, above = np.maximum(values - low, 0), np.maximum(high - values, 0)  # rounding can leave -1e-15
        places = [place + 0.2 * number - 0.1 for place, _ in found]
        axes.errorbar(values, places, xerr=[below, above], fmt="o", color=colour, label=words, capsize=3)
    axes.set_yticks(range(len(truth)), [label(name) for name in truth])
    axes.set_ylim(len(truth) - 0.5, -0.5)
    axes.set_xlabel("% of prompts (95 % interval)")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
    return figure
