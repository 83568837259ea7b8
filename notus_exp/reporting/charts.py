"""The plots that several sections draw: estimates by row, estimates against one another, curves, bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.figures import GREY, INK, WIDTH
from notus_exp.reporting.texts import label


class Look(NamedTuple):
    """Colour (hex), Matplotlib's marker and its line style."""

    colour: str
    marker: str
    line: str


class ForestRow(NamedTuple):
    """One line of a forest plot.

    Attributes:
        name: Words above its left end.
        estimate: In the unit of the axis.
        look: Colour and marker.
        filled: A full marker: of what differs.
        remark: Words above its right end.
    """

    name: str
    estimate: MeasuredValue
    look: Look
    filled: bool = True
    remark: str = ""


def forest(rows: Sequence[ForestRow], axis: str, *, zero: bool = True, band: float | None = None) -> Figure:
    """Draw estimates with their intervals below one another.

    Args:
        rows: From the top; a row without a value keeps its place.
        axis: Words and unit below.
        zero: Draw the line of no difference.
        band: Shade from -band to +band: differences that are held to be equivalent.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 0.5 * len(rows)))
    axes = figure.subplots()
    if band is not None:
        axes.axvspan(-band, band, color=GREY, alpha=0.18, linewidth=0)
    if zero:
        axes.axvline(0, color=INK, linewidth=0.8)
    for place, row in enumerate(rows):
        error_bars(axes, row.estimate, place, row.look, filled=row.filled)
        for at, words, side in (
            (0.0, label(row.name, 44), "left"),
            (1.0, row.remark, "right"),
        ):  # above, not beside: narrow
            axes.text(at, place - 0.28, words, transform=axes.get_yaxis_transform(), ha=side, va="center", fontsize=9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(rows) - 0.6, -0.6)
    axes.set_xlabel(axis)
    axes.grid(axis="x", alpha=0.25)
    return figure


def error_bars(axes: Axes, estimate: MeasuredValue, place: float, look: Look, *, filled: bool = True) -> None:
    """Draw one value with its horizontal interval; nothing where there is no value."""
    if estimate["value"] is None:
        return
    if estimate["low"] is not None and estimate["high"] is not None:
        axes.plot([estimate["low"], estimate["high"]], [place, place], color=look.colour, linewidth=1.6)
    face = look.colour if filled else "none"
    axes.plot(estimate["value"], place, look.marker, color=look.colour, markerfacecolor=face, markersize=6.5)


class Point(NamedTuple):
    """An arm in the plane: its two estimates, and each seed's (x, y)."""

    name: str
    x: MeasuredValue
    y: MeasuredValue
    seeds: Sequence[tuple[float, float]]
    look: Look


def plane(points: Sequence[Point], x_axis: str, y_axis: str, *, log: bool = False) -> Figure:
    """Draw arms as one quantity against another: a marker with both intervals, and a small dot a seed.

    Of an arm without both values there are only the seeds.
    """
    figure = Figure(figsize=(WIDTH, 4.2))
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
            label=label(point.name),
        )
    if log:
        plain_log(axes, "x")
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    axes.grid(alpha=0.25)
    legend(axes)
    return figure


class Curve(NamedTuple):
    """A line of points; `main` ones are thick and named, the others thin."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: Look
    main: bool


def curves(panels: Mapping[str, Sequence[Curve]], x_axis: str, y_axis: str) -> Figure:
    """Draw curves in panels beside each other, which share their vertical axis.

    Args:
        panels: Title -> its curves.
        x_axis: Words and unit below each panel.
        y_axis: Words and unit on the left.
    """
    figure = Figure(figsize=(WIDTH, 3.0))
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
        for line in lines:
            width, alpha, name = (1.8, 1.0, label(line.name)) if line.main else (0.7, 0.4, None)
            alone = line.look.marker if len(line.x) == 1 else None
            axes.plot(
                line.x,
                line.y,
                line.look.line,
                marker=alone,
                color=line.look.colour,
                linewidth=width,
                alpha=alpha,
                label=name,
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x_axis)
        axes.grid(alpha=0.25)
    all_axes[0].set_ylabel(y_axis)
    handles = {
        text: handle for axes in all_axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    return figure


def bars(shares: Mapping[str, MeasuredValue], axis: str, colour: str) -> Figure:
    """Draw shares as horizontal bars with their intervals, in the order given."""
    figure = Figure(figsize=(WIDTH, 0.8 + 0.32 * len(shares)))
    axes = figure.subplots()
    values, reach = [share["value"] or 0.0 for share in shares.values()], []
    for share, value in zip(shares.values(), values, strict=True):
        low, high = share["low"], share["high"]
        reach.append((max(0.0, value - (value if low is None else low)), max(0.0, (high or value) - value)))
    drawn = axes.barh(range(len(shares)), values, 0.6, color=colour, xerr=np.transpose(reach), ecolor=INK, capsize=3)
    axes.bar_label(drawn, fmt="%.2f", padding=3)
    axes.set_yticks(range(len(shares)), [label(name) for name in shares])
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlabel(axis)
    axes.grid(axis="x", alpha=0.25)
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
