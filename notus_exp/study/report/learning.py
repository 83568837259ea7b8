"""Section of the learning curves, from the events that each policy's training kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from notus_exp.disk.events import read
from notus_exp.disk.files import EVENTS
from notus_exp.reporting.charts import Curve, curves, thinned
from notus_exp.reporting.figures import inline
from notus_exp.study.report.material import Material, Section

MOST_POINTS = 120
"""Points of a curve at most: of longer ones, neighbours are averaged."""
QUANTITIES = {"loss": "loss (nats)", "accuracy": "accuracy (share of pairs)", "margin": "reward margin (reward units)"}
SPLITS = ("train", "validation")

Series = dict[int, float]
"""Step -> value."""


def learning(material: Material) -> Section:
    """Return the section of loss, accuracy and margin by step, a figure each with training beside validation."""
    logs = {arm: _logs(material, arm) for arm in material.arms}
    figures, longest = [], 0
    for quantity, axis in QUANTITIES.items():
        panels: dict[str, list[Curve]] = {}
        for split in SPLITS:
            lines = [
                line for arm, seeds in logs.items() for line in _lines(material, arm, seeds, f"{split}/{quantity}")
            ]
            if lines:
                panels[split] = lines
        if panels:
            words = f"{quantity} by step of training, {' and '.join(panels)}, a line for each arm"
            figures.append((quantity, inline(curves(panels, "step", axis), f"learning-{quantity}", words)))
    longest = max((len(series) for seeds in logs.values() for log in seeds for series in log.values()), default=0)
    if not figures:
        return Section("learning", "Learning curves", None, "No training of this study left events behind.")
    seeds_drawn = any(len(seeds) > 1 for seeds in logs.values())
    content = {"figures": figures, "averaged": longest > MOST_POINTS, "most": MOST_POINTS, "seeds": seeds_drawn}
    return Section("learning", "Learning curves", content)


def read_log(path: Path) -> dict[str, Series]:
    """Return metric -> step -> value of an events file; of a step written twice the later, no NaN."""
    found: dict[str, Series] = {}
    for event in read(path):
        for name, value in event.metrics.items():
            if math.isfinite(value):
                found.setdefault(name, {})[event.step] = value
    return found


def mean_curve(seeds: list[Series]) -> Series:
    """Return the mean over seeds at every step that all of them have."""
    steps = sorted(set.intersection(*(set(series) for series in seeds)))
    return {step: float(np.mean([series[step] for series in seeds])) for step in steps}


def _logs(material: Material, arm: str) -> list[dict[str, Series]]:
    runs = material.runs.get(arm, {})
    paths = [material.place(run, "policy", EVENTS) for _, run in sorted(runs.items())]
    return [log for log in (read_log(path) for path in paths if path) if log]


def _lines(material: Material, arm: str, logs: Sequence[Mapping[str, Series]], name: str) -> list[Curve]:
    """Return the thick line of an arm's mean and, of several seeds, a thin one each."""
    seeds: list[Any] = [log[name] for log in logs if log.get(name)]
    if not seeds:
        return []
    drawn = [(mean_curve(seeds), True)] + ([(series, False) for series in seeds] if len(seeds) > 1 else [])
    look = material.looks[arm]
    lines = [(thinned(series.keys(), series.values(), MOST_POINTS), main) for series, main in drawn if series]
    return [Curve(arm, x, y, look, main) for (x, y), main in lines]
