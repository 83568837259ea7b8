"""Tuning an arm before it is compared: an equal small search for every arm, on validation prompts, with other seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from notus_exp.comparison.per_prompt import run_values, seed_table
from notus_exp.config.loading import chosen_evaluations
from notus_exp.config.study_settings import Study
from notus_exp.contracts.run_file import RunFile
from notus_exp.contracts.study_file import TuningEntry
from notus_exp.disk.outputs import read_run
from notus_exp.errors import UserError, nearest
from notus_exp.evaluation.catalogue import held_out
from notus_exp.evaluation.metrics import known_metrics, metric_of
from notus_exp.inference.crossed import crossed_mean
from notus_exp.study.launching.definition import key_of, written
from notus_exp.study.launching.jobs import Jobs
from notus_exp.study.launching.planned import Planned, plan_arm

VALIDATION = "evaluation_split=validation"


class Candidate(NamedTuple):
    """What is tried for an arm.

    Attributes:
        arm: Name of the arm.
        values: Setting -> value.
        runs: One for each seed of the tuning.
    """

    arm: str
    values: dict[str, str]
    runs: list[Planned]


def candidates(jobs: Jobs, settings: Study, overrides: Mapping[str, Sequence[str]]) -> list[Candidate]:
    """Return what is tried: for every arm all combinations of the candidates of `study.tune`.

    Evaluations whose prompts are fixed have none for tuning; they are left to the runs that are compared.

    Args:
        jobs: Composes.
        settings: The study's.
        overrides: Arm -> the overrides of its runs, without seed.

    Raises:
        UserError: A combination cannot be run.
    """
    choices = [[(key, written(value)) for value in settings.tuning.values[key]] for key in settings.tune]
    found = []
    for arm, given in overrides.items():
        held_out = _held_out(jobs, given)
        for combination in itertools.product(*choices):
            values = dict(combination)
            complete = [*held_out, *(f"{key}={value}" for key, value in values.items()), VALIDATION]
            found.append(Candidate(arm, values, plan_arm(jobs, arm, settings.tuning.seeds, complete)))
    return found


def _held_out(jobs: Jobs, overrides: Sequence[str]) -> list[str]:
    """Return overrides with the evaluations that have validation prompts alone, and without settings of the others."""
    chosen = chosen_evaluations(jobs.load(overrides)[0])
    kept = [name for name in chosen if name in held_out()]
    if kept == chosen:
        return list(overrides)
    dropped = tuple(f"evaluation.{name}." for name in chosen if name not in held_out())
    others = [override for override in overrides if not key_of(override).startswith(dropped)]
    return [*others, f"evaluation=[{','.join(kept)}]"]


def outcome(folder: Path, settings: Study, tried: Sequence[Candidate]) -> dict[str, list[TuningEntry]]:
    """Return how each candidate did, by arm, as study.json keeps it.

    The value is the mean over prompts and the tuning's seeds; the interval covers both.
    """
    metric = settings.tuning.metric or settings.metric
    found: dict[str, list[TuningEntry]] = {}
    for one in tried:
        entry: TuningEntry = {
            "values": one.values,
            "runs": {str(planned.seed): planned.run.id for planned in one.runs},
            "value": None,
            "low": None,
            "high": None,
            "reason": None,
        }
        runs = [read_run(folder, planned.run.id) for planned in one.runs]
        broken = [run for run in runs if run["status"] != "finished"]
        if broken:
            entry["reason"] = broken[0].get("error") or broken[0]["status"]
        else:
            _measure(entry, folder, runs, metric)
        found.setdefault(one.arm, []).append(entry)
    return found


def best(settings: Study, tried: Mapping[str, Sequence[TuningEntry]]) -> dict[str, dict[str, str]]:
    """Return arm -> the values that did best; the first of equals.

    An arm none of whose candidates has a value has no entry.
    """
    sign = 1 if settings.tuning.direction == "maximize" else -1
    chosen = {}
    for arm, entries in tried.items():
        measured = [(entry["value"], entry["values"]) for entry in entries if entry["value"] is not None]
        if measured:
            chosen[arm] = dict(max(measured, key=lambda entry: sign * entry[0])[1])
    return chosen


def _measure(entry: TuningEntry, folder: Path, runs: Sequence[RunFile], metric: str) -> None:
    """Give an entry value and interval of a metric over the prompts and seeds of these runs, or why it has none."""
    measured = [run_values(folder, run) for run in runs]
    if not all(metric in one.metrics() for one in measured):
        entry["reason"] = f"{metric} was not reported"
        return
    columns = [one.column(metric) for one in measured]
    prompts = sorted({prompt for column in columns for prompt in column})
    estimate = crossed_mean(seed_table(columns, prompts), span=metric_of(metric).bounds)
    if math.isnan(estimate.value):
        entry["reason"] = f"{metric} has no value"
        return
    low, high = (None if math.isnan(end) else end for end in (estimate.low, estimate.high))
    entry |= {"value": estimate.value, "low": low, "high": high}


def check_tunable(settings: Study, tried: Sequence[Candidate]) -> None:
    """Check that what tuning optimises is measured on validation prompts.

    Raises:
        UserError: It is measured on a benchmark's own prompts, or not at all.
    """
    metric = settings.tuning.metric or settings.metric
    for one in tried:
        known = known_metrics(one.runs[0].run.config)
        if metric not in known:
            raise UserError(
                f"tuning cannot optimise '{metric}': arm '{one.arm}' does not measure it on validation prompts",
                f"set study.tuning.metric: {nearest(metric, known)}",
            )
