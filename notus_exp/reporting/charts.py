"""The plots that several sections draw: estimates against one another, curves, bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.figures import NARROW, WIDTH
from notus_exp.reporting.looks import INK, Look
from notus_exp.reporting.texts import label

_MARKERS_A_LINE = 6
"""Markers on a curve, about."""


class Point(NamedTuple):
    """An arm in the plane: its two estimates, and each seed's (x, y)."""

    name: str
    x: MeasuredValue
    y: MeasuredValue
    seeds: Sequence[tuple[float, float]]
    look: Look


def plane(points: Sequence[Point], x_axis: str, y_axis: str, *, log: bool = False) -> Figure:
    """Draw arms as one quantity against another: a marker with both intervals, and a small dot a seed.

    Of an arm without both values there are only the seeds. The page's own legend says whose a marker is.
    """
    figure = Figure(figsize=(WIDTH, 3.8))
    axes = figure.subplots()
    for point in points:
        for at in point.seeds:
            axes.plot(*at, ".", color=point.look.colour, markersize=6, alpha=0.6)
        x, y = point.x["value"], point.y["value"]
        if x is None or y is None:
            continue
        if point.x["low"] is not None and point.x["high"] is not None:
            axes.plot([point.x["low"], point.x["high"]], [y, y], color=point.look.colour, linewidth=1.2, alpha=0.8)
        if point.y["low"] is not None and point.y["high"] is not None:
            axes.plot([x, x], [point.y["low"], point.y["high"]], color=point.look.colour, linewidth=1.2, alpha=0.8)
        axes.plot(
            x,
            y,
            point.look.marker,
            color=point.look.colour,
            markersize=8,
        )
    if log:
        plain_log(axes, "x")
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    axes.grid(alpha=0.25)
    return figure


class Curve(NamedTuple):
    """A line of points, and between which values the seeds lie at each of them; without several seeds no such band."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: Look
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def curves(lines: Sequence[Curve], x_axis: str, y_axis: str) -> Figure:
    """Draw curves with their bands; markers, dashes and colours tell them apart, as in the page's legend.

    Args:
        lines: Each of two points or more.
        x_axis: Words below; whole numbers stand there.
        y_axis: Words and unit on the left.
    """
    figure = Figure(figsize=(NARROW, 2.9))
    axes = figure.subplots()
    for place, line in enumerate(lines):
        if line.low:
            axes.fill_between(line.x, line.low, line.high, color=line.look.colour, alpha=0.13, linewidth=0)
        every = max(len(line.x) // _MARKERS_A_LINE, 1)
        axes.plot(
            line.x,
            line.y,
            line.look.line,
            marker=line.look.marker,
            markevery=(place * every // max(len(lines), 1), every),  # not all at the same places
            markersize=4.5,
            color=line.look.colour,
            linewidth=1.6,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    axes.grid(alpha=0.25)
    return figure


def bars(shares: Mapping[str, MeasuredValue], axis: str, colour: str) -> Figure:
    """Draw shares, between 0 and 1, as horizontal bars with their intervals, in the order given.

    An interval is drawn from its own low to its own high end, wherever the value is; one without an end is not drawn,
    and in the place of a bar without a value stands that it cannot be told.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.32 * len(shares)))
    axes = figure.subplots()
    for place, share in enumerate(shares.values()):
        value, low, high = share["value"], share["low"], share["high"]
        if value is None:
            axes.text(0.005, place, "cannot be told", va="center", ha="left")
            continue
        axes.barh(place, value, 0.6, color=colour)
        ends = [end for end in (low, high) if end is not None]
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2, marker="|", markersize=8)
        axes.text(max([value, *ends]) + 0.015, place, f"{value:.2f}", va="center", ha="left")
    axes.set_yticks(range(len(shares)), [label(name) for name in shares])
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel(axis)
    return figure


def legend(axes: Axes) -> None:
    """Put the legend below the plot, where it hides nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def plain_log(axes: Axes, which: str) -> None:
    """Make an axis logarithmic, its ticks plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: "")


def thinned(x: Iterable[float], y: Iterable[float], most: int) -> tuple[list[float], list[float]]:
    """Return a curve of at most `most` points: neighbours are averaged, both their places and their values."""
    xs, ys = np.asarray(list(x), dtype=float), np.asarray(list(y), dtype=float)
    if len(xs) <= most:
        return xs.tolist(), ys.tolist()
    groups = np.arange(len(xs)) * most // len(xs)
    sizes = np.bincount(groups)
    return (np.bincount(groups, xs) / sizes).tolist(), (np.bincount(groups, ys) / sizes).tolist()
