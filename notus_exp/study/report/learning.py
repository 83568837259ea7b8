"""Section of the learning curves, from the events that each policy's training kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from notus_exp.disk.events import read
from notus_exp.disk.files import EVENTS
from notus_exp.reporting.charts import Curve, curves, thinned
from notus_exp.reporting.figures import inline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import NONE, number

MOST_POINTS = 30
"""Points of a curve at most: of longer ones neighbours are averaged, since single batches of pairs scatter widely."""
MOST_BANDS = 6
"""Arms up to which the seeds are drawn as a band around the mean: more bands hide each other."""
QUANTITIES = {"loss": "loss (nats)", "accuracy": "accuracy (share of pairs)", "margin": "reward margin (reward units)"}
SPLITS = ("train", "validation")

Series = dict[int, float]
"""Step -> value."""


class LastRow(NamedTuple):
    """What an arm had at the only step at which a split was measured, a text a quantity."""

    arm: str
    cells: list[str]


def learning(material: Material) -> Section:
    """Return the section of loss, accuracy and margin by step: a figure each; what has one point is a table."""
    logs = {arm: _logs(material, arm) for arm in material.arms}
    logs = {arm: seeds for arm, seeds in logs.items() if seeds}
    if not logs:
        return Section("learning", "Learning curves", None, "No training of this study left events behind.")
    figures, longest, bands = [], 0, len(logs) <= MOST_BANDS
    for split in SPLITS:
        for quantity, axis in QUANTITIES.items():
            found = {arm: _series(seeds, f"{split}/{quantity}") for arm, seeds in logs.items()}
            drawn = {arm: seeds for arm, seeds in found.items() if seeds and len(mean_curve(seeds)) > 1}
            if not drawn:
                continue
            longest = max([longest, *(len(series) for seeds in drawn.values() for series in seeds)])
            words = f"{quantity} by step of {split}, a line for each of {', '.join(drawn)}"
            figure = curves(
                [_curve(material, arm, seeds, bands) for arm, seeds in drawn.items()], "step of training", axis
            )
            figures.append((f"{quantity}, {split}", inline(figure, f"learning-{split}-{quantity}", words)))
    content = {
        "figures": figures,
        "arms": list(logs),
        "averaged": longest > MOST_POINTS,
        "most": MOST_POINTS,
        "seeds": any(len(seeds) > 1 for seeds in logs.values()),
        "bands": bands,
        "once": [table for split in SPLITS if (table := _once(logs, split))],
    }
    return Section("learning", "Learning curves", content)


def read_log(path: Path) -> dict[str, Series]:
    """Return metric -> step -> value of an events file; of a step written twice the later, no NaN."""
    found: dict[str, Series] = {}
    for event in read(path):
        for name, value in event.metrics.items():
            if math.isfinite(value):
                found.setdefault(name, {})[event.step] = value
    return found


def mean_curve(seeds: Sequence[Series]) -> Series:
    """Return the mean over seeds at every step that all of them have."""
    return {step: float(np.mean([series[step] for series in seeds])) for step in _common(seeds)}


def _common(seeds: Sequence[Series]) -> list[int]:
    return sorted(set.intersection(*(set(series) for series in seeds)))


def _logs(material: Material, arm: str) -> list[dict[str, Series]]:
    runs = material.runs.get(arm, {})
    paths = [material.place(run, "policy", EVENTS) for _, run in sorted(runs.items())]
    return [log for log in (read_log(path) for path in paths if path) if log]


def _series(logs: Sequence[Mapping[str, Series]], name: str) -> list[Series]:
    return [log[name] for log in logs if log.get(name)]


def _curve(material: Material, arm: str, seeds: Sequence[Series], band: bool) -> Curve:
    """Return the mean of an arm's seeds and, of several, the band between the lowest and the highest of them."""
    mean = mean_curve(seeds)
    x, y = thinned(mean.keys(), mean.values(), MOST_POINTS)
    if len(seeds) == 1 or not band:
        return Curve(arm, x, y, material.looks[arm])
    each = [thinned(mean.keys(), [series[step] for step in mean], MOST_POINTS)[1] for series in seeds]
    low, high = ([bound(values) for values in zip(*each, strict=True)] for bound in (min, max))
    return Curve(arm, x, y, material.looks[arm], low, high)


def _once(logs: Mapping[str, Sequence[Mapping[str, Series]]], split: str) -> dict[str, object] | None:
    """Return the table of what a split had at its only step: a point is no curve; None where there are curves."""
    means = {
        arm: {
            quantity: mean_curve(found) for quantity in QUANTITIES if (found := _series(seeds, f"{split}/{quantity}"))
        }
        for arm, seeds in logs.items()
    }
    shown = [one for one in QUANTITIES if any(len(found.get(one, {})) == 1 for found in means.values())]
    if not shown:
        return None
    steps = sorted({step for found in means.values() for one in shown for step in found.get(one, {})})
    rows = [
        LastRow(
            arm, [number(next(iter(found[one].values()))) if len(found.get(one, {})) == 1 else NONE for one in shown]
        )
        for arm, found in means.items()
    ]
    return {"split": split, "steps": steps, "columns": [QUANTITIES[one] for one in shown], "rows": rows}
