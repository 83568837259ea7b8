"""The report's plots, each from plain numbers to a PNG as a data URI: Matplotlib's objects only, no global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from notus_exp.contracts.curation_file import StrategyTruth

CHOSEN = "#2b6ca3"
REJECTED = "#c9772b"
GREY = "#666666"


def agreement_plot(labels: Sequence[str], shares: Sequence[Sequence[float | None]]) -> str:
    """Draw how often two strategies choose the same response.

    Args:
        labels: Strategy names, shape (s,).
        shares: Shares in [0, 1], shape (s, s); None is left blank.
    """
    size = len(labels)
    figure = Figure(figsize=(2.6 + 0.75 * size, 2.0 + 0.6 * size))
    axes = figure.subplots()
    values = np.array([[np.nan if share is None else 100 * share for share in row] for row in shares], dtype=float)
    axes.imshow(values, vmin=0, vmax=100, cmap="Blues")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 60 else "black")
    axes.set_xticks(range(size), labels, rotation=40, ha="right")
    axes.set_yticks(range(size), labels)
    axes.set_title("Same chosen response, % of prompts")
    return _uri(figure)


def histogram(values: np.ndarray, title: str, label: str, color: str = CHOSEN) -> str:
    """Draw a histogram of numbers of shape (n,), with a line at zero and the outer 0.5 % gathered in the end bins."""
    figure = Figure(figsize=(6.4, 3.2))
    axes = figure.subplots()
    low, high = np.quantile(values, [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    axes.hist(np.clip(values, low, high), bins=np.linspace(low, high, 41).tolist(), color=color)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_ylabel("pairs")
    return _uri(figure)


def shares_plot(rows: Sequence[Mapping[str, Any]], title: str, series: dict[str, str]) -> str:
    """Draw horizontal bars of shares.

    Args:
        rows: One dict a bar group with `name` and a share in [0, 1] for each key of `series`.
        title: Title of the plot.
        series: Key -> its label, at most two.
    """
    figure = Figure(figsize=(6.4, 1.4 + 0.34 * len(rows)))
    axes = figure.subplots()
    height = 0.8 / len(series)
    places = np.arange(len(rows))
    for number, ((key, label), color) in enumerate(zip(series.items(), (CHOSEN, REJECTED), strict=False)):
        axes.barh(places + number * height, [100 * row[key] for row in rows], height, label=label, color=color)
    axes.set_yticks(places + height * (len(series) - 1) / 2, [shorten(row["name"] or "(unknown)", 32) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("% of pairs")
    axes.set_title(title)
    if len(series) > 1:
        axes.legend(loc="lower right")
    return _uri(figure)


def truth_plot(truth: Mapping[str, StrategyTruth]) -> str:
    """Draw, per strategy, how often the choice is truly right, with intervals."""
    figure = Figure(figsize=(6.4, 1.6 + 0.42 * len(truth)))
    axes = figure.subplots()
    measures = {
        "chosen is the truly best": [one["best"] for one in truth.values()],
        "chosen is truly better than rejected": [one["better"] for one in truth.values()],
    }
    for number, ((label, shares), color) in enumerate(zip(measures.items(), (CHOSEN, REJECTED), strict=True)):
        found = {place: share for place, share in enumerate(shares) if share["n"]}
        parts = [(share["value"], share["low"], share["high"]) for share in found.values()]
        values, low, high = 100 * np.array(parts, dtype=float).reshape(-1, 3).T
        below, above = np.maximum(values - low, 0), np.maximum(high - values, 0)  # rounding can leave -1e-15
        places = [place + 0.2 * number - 0.1 for place in found]
        axes.errorbar(values, places, xerr=[below, above], fmt="o", color=color, label=label, capsize=3)
    axes.set_yticks(range(len(truth)), list(truth))
    axes.set_ylim(len(truth) - 0.5, -0.5)
    axes.set_xlabel("% of prompts (95 % interval)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return _uri(figure)


def shorten(text: str, most: int) -> str:
    """Cut a text to `most` characters, with an ellipsis where something was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _uri(figure: Figure) -> str:
    for axes in figure.axes:  # names come from the data: a dollar sign in them is no formula
        for text in [axes.title, *axes.get_xticklabels(), *axes.get_yticklabels()]:
            text.set_parse_math(False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
