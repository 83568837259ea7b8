"""Draw docs/wandb.png: the first panels of two studies' workspaces, from nothing but their offline W&B files.

    PYTHONPATH=.:tests python benchmarks/wandb_picture.py outputs/studies/acceptance outputs/studies/beta_search

Both studies must have been told to W&B offline: `python -m notus_exp.track STUDY --mode offline`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from notus_exp.reporting.figures import COLOURS
from notus_exp.study.afterwards import track_afterwards
from notus_exp.tracking import WorkspaceSpec
from notus_exp.tracking.workspace import Axis, Panel
from support.wandb_groups import Group

TARGET = Path(__file__).resolve().parent.parent / "docs" / "wandb.png"


def main(arms: Path, search: Path) -> None:
    """Draw the intervals of a study of arms and the parallel coordinates of a search side by side."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(1, 1.3), layout="constrained")
    draw_intervals(left, Group(arms), panel_of(arms, "intervals"))
    draw_parallel(right, Group(search), panel_of(search, "parallel"))
    figure.savefig(TARGET, dpi=110)


def panel_of(folder: Path, kind: str) -> Panel:
    """Return the first panel of a kind of a study's workspace."""
    unchanged = dict.fromkeys(("project", "entity", "group", "mode"))
    spec: WorkspaceSpec = track_afterwards(folder, unchanged, only_shown=True).data["workspace"]
    return next(panel for section in spec["sections"] for panel in section["panels"] if panel["kind"] == kind)


def draw_intervals(axes: Any, group: Group, panel: Panel) -> None:
    """Draw bars with intervals from the table of the study's run that the panel names."""
    rows = group.rows(panel["table"])[::-1]
    for place, row in enumerate(rows):
        axes.barh(place, row["value"], color=COLOURS[place % len(COLOURS)], alpha=0.6)
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [place, place], color="black", linewidth=2)
    axes.set_yticks(range(len(rows)), [row["arm"] for row in rows])
    axes.set_title(panel["title"], fontsize=9)


def draw_parallel(axes: Any, group: Group, panel: Panel) -> None:
    """Draw a line a run through the panel's axes, each from its least to its largest value."""
    columns = [[value_of(run, axis) for run in group.runs] for axis in panel["axes"]]
    for place, (axis, column) in enumerate(zip(panel["axes"], columns, strict=True)):
        known = [value for value in column if value is not None]
        options = sorted({*map(str, known)}) if any(isinstance(value, str) for value in known) else None
        scaled = [None if value is None else scale(value, known, options, log=axis["log"]) for value in column]
        columns[place] = scaled
        axes.plot([place, place], [0, 1], color="0.7", linewidth=1)
        ends = (options[0], options[-1]) if options else (f"{min(known):.3g}", f"{max(known):.3g}")
        for height, text in zip((-0.07, 1.04), ends, strict=True):
            axes.text(place, height, text, ha="center", fontsize=8)
        axes.text(place, -0.2, axis["title"].replace("/", "/\n"), ha="center", va="top", fontsize=8)
    for number, line in enumerate(zip(*columns, strict=True)):
        axes.plot(range(len(line)), line, marker="o", color=COLOURS[number % len(COLOURS)])
    axes.set_ylim(-0.45, 1.15)
    axes.axis("off")
    axes.set_title(f"{panel['title']} ({group.study.run.display_name})", fontsize=9)


def value_of(run: Any, axis: Axis) -> Any:
    """Return what a run has on an axis; None where it has nothing."""
    if axis["where"] == "summary":
        return run.summary.get(axis["key"])
    found = run.config
    for part in axis["key"].split("."):
        found = found.get(part, {})
    return found or None


def scale(value: Any, known: list[Any], options: list[str] | None, *, log: bool) -> float:
    """Return where a value lies between the ends of its axis, 0 to 1."""
    if options:
        return options.index(str(value)) / max(1, len(options) - 1)
    low, high = min(known), max(known)
    if log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return 0.5 if low == high else (value - low) / (high - low)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
