"""What a search optimises and what it keeps within bounds: metrics by name, checked before and read after a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from notus_exp.config.schema import Config, Stage
from notus_exp.config.study_settings import Search
from notus_exp.contracts.run_file import RunFile
from notus_exp.disk.events import read
from notus_exp.disk.files import EVENTS
from notus_exp.disk.outputs import NOT_STARTED, artifact, outputs, read_run
from notus_exp.errors import UserError, did_you_mean, nearest
from notus_exp.evaluation.metrics import is_known, known_metrics
from notus_exp.training.measures import training_metrics

POLICY = "policy"
BOUNDS = ("least", "most")


class Bound(NamedTuple):
    """One side of a constraint.

    Attributes:
        metric: Name of the metric.
        side: least or most.
        value: The bound, in the metric's unit.
    """

    metric: str
    side: str
    value: float

    def excess(self, measured: float) -> float:
        """Return by how much a value is outside, at most 0 within: what Optuna calls a constraint."""
        return self.value - measured if self.side == "least" else measured - self.value


class SeedMeans(NamedTuple):
    """Metrics of one trial, each the mean over its seeds.

    Attributes:
        values: Metric -> value; empty where something is missing.
        reason: Why there are none, else None.
    """

    values: dict[str, float]
    reason: str | None


def bounds(constraints: Mapping[str, Any]) -> list[Bound]:
    """Return every bound of `study.search.constraints`.

    Raises:
        UserError: A constraint is not {least: X} and/or {most: Y}.
    """
    found = []
    for metric, sides in constraints.items():
        good = isinstance(sides, Mapping) and sides and all(side in BOUNDS for side in sides)
        numbers = sides.values() if good else [None]
        if not all(
            isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in numbers
        ):
            raise UserError(
                f"study.search.constraints: '{metric}' is {sides!r}", "write {least: X}, {most: Y} or both, as numbers"
            )
        if len(sides) == 2 and sides["least"] > sides["most"]:
            raise UserError(f"study.search.constraints: '{metric}' has least above most", "exchange them")
        found += [Bound(metric, side, float(value)) for side, value in sides.items()]
    return found


def measured_metrics(search: Search) -> list[str]:
    """Return the metrics that a trial is told with: objectives, then those with bounds, each once."""
    return list(dict.fromkeys([*search.objectives, *search.constraints]))


def check_goals(search: Search) -> None:
    """Check what concerns the goals alone.

    Raises:
        UserError: There is no objective, a bound is malformed, or a pruner has several objectives to serve.
    """
    if not search.objectives:
        raise UserError("study.search.objectives is empty", "name one, such as preferences/accuracy/average: maximize")
    bounds(search.constraints)
    if search.pruner != "none" and len(search.objectives) > 1:
        raise UserError(
            f"study.search.pruner={search.pruner} cannot tell which of {len(search.objectives)} objectives it serves",
            "use study.search.pruner=none, or make all but one of them constraints",
        )
    if search.pruner != "none" and search.prune_on not in training_metrics():
        known = training_metrics()
        raise UserError(
            f"study.search.prune_on={search.prune_on} is no metric of the training",
            did_you_mean(search.prune_on, known),
        )


def check_measurable(search: Search, config: Config) -> None:
    """Check that runs of a config will report what the search asks for.

    Raises:
        UserError: A metric is unknown, nothing is there to prune on, or runs stop before they are measured.
    """
    trained, known = training_metrics(), known_metrics(config)
    for metric in measured_metrics(search):
        place = "objectives" if metric in search.objectives else "constraints"
        if metric not in trained and not is_known(metric, known):
            raise UserError(f"study.search.{place}: '{metric}' is not measured", nearest(metric, [*known, *trained]))
    evaluated = any(metric not in trained for metric in measured_metrics(search))
    last = Stage.evaluation if evaluated else Stage.policy
    if config.until is not Stage.config and config.until.value < last.value:
        raise UserError(f"until={config.until.name} stops before a trial is measured", f"use until={last.name}")
    events = [metric for metric in measured_metrics(search) if metric in trained]
    least = 2 if search.pruner != "none" else 1 if events else 0
    if config.dpo.evaluations < least:
        what = f"pruner={search.pruner}" if least == 2 else events[0]
        raise UserError(
            f"dpo.evaluations={config.dpo.evaluations} leaves nothing to decide on for study.search: {what}",
            f"evaluate during the training: dpo.evaluations={max(least, 4)}",
        )
    if least and config.split.validation == 0:
        raise UserError("split.validation=0 leaves no validation pairs to watch", "give it a share, such as 0.1")


def measure(folder: Path, runs: Sequence[str], metrics: Sequence[str]) -> SeedMeans:
    """Return each metric's mean over a trial's finished runs.

    Args:
        folder: The study's.
        runs: Run ids, one a seed.
        metrics: What to read.
    """
    values: dict[str, list[float]] = {metric: [] for metric in metrics}
    for run_id in runs:
        run = read_run(folder, run_id)
        if run["status"] == NOT_STARTED:
            place = outputs(folder) / "runs" / run_id
            return SeedMeans({}, f"the run is not in {place}: all machines of a launcher must share that folder")
        if run["status"] != "finished":
            return SeedMeans({}, f"run {run_id} is {run['status']}")
        for metric in metrics:
            value = _value(folder, run, metric)
            if value is None or not math.isfinite(value):
                what = "not reported" if value is None else f"{value}, not a finite number"
                return SeedMeans({}, f"{metric} of run {run_id} is {what}")
            values[metric].append(value)
    return SeedMeans({metric: float(np.mean(found)) for metric, found in values.items()}, None)


def _value(folder: Path, run: RunFile, metric: str) -> float | None:
    if metric not in training_metrics():
        found = run["metrics"].get(metric)
        return None if found is None else found["value"]
    name = metric.removeprefix(f"{POLICY}/")
    events = read(artifact(folder, run, POLICY) / EVENTS)
    reported = [event.metrics[name] for event in events if event.stage == POLICY and name in event.metrics]
    return reported[-1] if reported else None
