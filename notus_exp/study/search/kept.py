"""What a database keeps of a trial's runs beside its values: what another machine, without their folders, must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from optuna.trial import FrozenTrial

from notus_exp.comparison.per_prompt import run_values
from notus_exp.contracts.run_file import RunFile
from notus_exp.contracts.study_file import TrialInterval
from notus_exp.disk.outputs import NOT_STARTED, read_run
from notus_exp.errors import UserError

KEPT = "kept"
"""The trial's user attribute."""


class Kept(TypedDict):
    """What is kept.

    Attributes:
        intervals: Seed -> objective -> the run's value with its interval, of those that have one.
        by_prompt: Seed -> objective -> prompt id -> value, of those that are a mean over prompts.
        usd: What the runs' judges cost.
    """

    intervals: dict[str, dict[str, TrialInterval]]
    by_prompt: dict[str, dict[str, dict[str, float]]]
    usd: float


def keep(folder: Path, runs: Mapping[str, str], objectives: Sequence[str]) -> Kept:
    """Return what is to be kept of a trial, however it ended.

    Args:
        folder: The study's.
        runs: Seed -> run id.
        objectives: Of the search.
    """
    records = {seed: read_run(folder, run) for seed, run in runs.items()}
    return {
        "intervals": {seed: _intervals(run, objectives) for seed, run in records.items()},
        "by_prompt": {seed: by_prompt(folder, run, objectives) for seed, run in records.items()},
        "usd": sum(run["costs"].get("judge_usd") or 0.0 for run in records.values() if "costs" in run),
    }


def kept_of(trial: FrozenTrial) -> Kept | None:
    """Return what was kept of a trial; None where its storage is a file, beside which its runs lie."""
    return cast(Kept | None, trial.user_attrs.get(KEPT))


def begun_here(folder: Path, run: str) -> bool:
    """Say whether a run has begun below this study's outputs."""
    return read_run(folder, run)["status"] != NOT_STARTED


def finished_here(folder: Path, run: str) -> bool:
    """Say whether a run has finished below this study's outputs."""
    return read_run(folder, run)["status"] == "finished"


def interval_of_run(run: Mapping[str, Any], name: str) -> TrialInterval | None:
    """Return a run's value of a metric with its interval, for new prompts; None where it has none."""
    estimate = run.get("metrics", {}).get(name)
    if estimate is None or estimate["low"] is None or estimate["high"] is None:
        return None
    return {"value": estimate["value"], "low": estimate["low"], "high": estimate["high"], "prompts": estimate["n"]}


def by_prompt(folder: Path, run: RunFile, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return metric -> prompt id -> value of a run; empty where they are not there, or not any more."""
    if "evaluation" not in run.get("stages", {}) or run["status"] != "finished":
        return {}
    try:
        values = run_values(folder, run)
    except UserError:  # whoever needs the values says what is wrong with them: here they only give an interval
        return {}
    return {name: column for name in names if (column := values.column(name))}


def _intervals(run: RunFile, names: Sequence[str]) -> dict[str, TrialInterval]:
    return {name: found for name in names if (found := interval_of_run(run, name)) is not None}
