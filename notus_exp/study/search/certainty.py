"""How sure the values of a search's trials are: intervals, ties for the best, differences from it, all in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from notus_exp.comparison.per_prompt import seed_table
from notus_exp.contracts.study_file import TrialInterval, TrialRecord
from notus_exp.disk.outputs import read_run
from notus_exp.evaluation.metrics import metric_of
from notus_exp.inference.crossed import crossed_mean
from notus_exp.study.search.kept import Kept, by_prompt, finished_here, interval_of_run

ALIKE = 1e-9
"""Values that differ by less, relative to the larger one, tie: means of the same numbers, added in another order."""
NOTHING_KEPT: Mapping[int, Kept | None] = MappingProxyType({})
"""Of a search whose runs are all here."""


def trial_intervals(folder: Path, trial: TrialRecord, kept: Kept | None = None) -> dict[str, TrialInterval]:
    """Return an interval for each objective of a complete trial that has one; metrics of the training have none.

    Over one seed it is that of the run, for new prompts; over several it is for new prompts and new seeds, as a
    comparison's.

    Args:
        folder: The study's.
        trial: One of its trials.
        kept: What the storage has of its runs, for those that are not here.
    """
    if trial["state"] != "complete":
        return {}
    found = {}
    for name, value in trial["values"].items():
        if value is None or not trial["runs"]:
            continue
        seeds = [*trial["runs"]]
        interval = _of_run(folder, trial, name, kept) if len(seeds) == 1 else _of_seeds(folder, trial, name, kept)
        if interval is not None:
            found[name] = interval | {"value": value}
    return found


def _of_run(folder: Path, trial: TrialRecord, name: str, kept: Kept | None) -> TrialInterval | None:
    ((seed, run),) = trial["runs"].items()
    if kept is not None and not finished_here(folder, run):
        return kept["intervals"].get(seed, {}).get(name)
    return interval_of_run(read_run(folder, run), name)


def _of_seeds(folder: Path, trial: TrialRecord, name: str, kept: Kept | None) -> TrialInterval | None:
    """Return the crossed interval; None where the metric has no values by prompt, or they are not there any more."""
    columns = _columns(folder, trial, [*trial["runs"]], name, kept)
    if not columns:
        return None
    prompts = sorted(set().union(*columns))
    estimate = crossed_mean(seed_table(columns, prompts), span=metric_of(name).bounds)
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "prompts": estimate.prompts}


def _columns(
    folder: Path, trial: TrialRecord, seeds: Sequence[str], name: str, kept: Kept | None
) -> list[dict[str, float]]:
    """Return prompt id -> value of the run of each seed; empty where one has none."""
    columns = []
    for seed in seeds:
        run = trial["runs"][seed]
        if kept is not None and not finished_here(folder, run):
            columns.append(kept["by_prompt"].get(seed, {}).get(name, {}))
        else:
            columns.append(by_prompt(folder, read_run(folder, run), [name]).get(name, {}))
    return columns if all(columns) else []


def tied(trials: Sequence[TrialRecord], first: int, objective: str) -> list[int]:
    """Return the trials that are as good as the best one, itself in front.

    Trials of the same runs are one: they were asked twice.

    Args:
        trials: All of the search.
        first: Number of the best one that was asked first.
        objective: The one that decides.
    """
    values = {trial["number"]: trial["values"].get(objective) for trial in trials}
    wanted = values[first]
    found: dict[str, int] = {}
    for trial in sorted(trials, key=lambda one: one["number"] != first):
        value = values[trial["number"]]
        if wanted is None or value is None or trial["feasible"] is False:
            continue
        if math.isclose(value, wanted, rel_tol=ALIKE, abs_tol=1e-12):
            same = sorted(trial["runs"].items()) or trial["number"]
            found.setdefault(str(same), trial["number"])
    return list(found.values()) or [first]


def difference(
    folder: Path,
    trial: TrialRecord,
    best: TrialRecord,
    objective: str,
    kept: Mapping[int, Kept | None] = NOTHING_KEPT,
) -> TrialInterval | None:
    """Return a trial minus the best one, paired by prompt and by seed, for new prompts and (of several) new seeds.

    None where the metric has no values by prompt, they are not there any more, or the data cannot tell an interval.

    Args:
        folder: The study's.
        trial: A complete one.
        best: Likewise.
        objective: The metric.
        kept: Number of a trial -> what the storage has of its runs, for those that are not here.
    """
    seeds = [seed for seed in best["runs"] if seed in trial["runs"]]
    sides = []
    for one in (trial, best):
        columns = _columns(folder, one, seeds, objective, kept.get(one["number"]))
        if not columns:
            return None
        sides.append(columns)
    prompts = sorted(set().union(*sides[0], *sides[1]))
    span = metric_of(objective).span
    gaps = seed_table(sides[0], prompts) - seed_table(sides[1], prompts)
    estimate = crossed_mean(gaps, span=None if span is None else (span[0] - span[1], span[1] - span[0]))
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "prompts": estimate.prompts}


def in_words(trials: Sequence[TrialRecord], best: Sequence[int], objectives: Mapping[str, str]) -> list[str]:
    """Return sentences on what the best trial is worth: its interval, what ties with it, and what may be as good.

    Args:
        trials: All, with their intervals and differences.
        best: Numbers of the best ones.
        objectives: Metric -> minimize or maximize.
    """
    if not best or len(objectives) != 1:
        return []
    (name,) = objectives
    chosen = next(trial for trial in trials if trial["number"] == best[0])
    value, interval = chosen["values"][name], chosen.get("intervals", {}).get(name)
    if value is None:  # a trial that was put into the storage by hand
        return []
    told = f"{name} {value:.4g}"
    on = f" on {interval['prompts']} prompts" if interval else ""
    if interval:
        told += f" [{interval['low']:.3g} to {interval['high']:.3g}, 95 %]"
    sentences = [f"The best trial is {best[0]}: {told}{on}."]
    if len(best) > 1:
        sentences = [
            f"{len(best)} trials tie at {value:.4g}{on} ({name}): {', '.join(map(str, best))};"
            f" {best[0]} was asked first{' and has the interval' if interval else ''}"
            + (f" {interval['low']:.3g} to {interval['high']:.3g} (95 %)." if interval else ".")
        ]
    others = [
        one["differences"][name]
        for one in trials
        if one["number"] not in best and one["feasible"] is not False and name in one.get("differences", {})
    ]
    if others:
        noun = "trial" if len(others) == 1 else "trials"
        unclear = sum(_end(one, "low") <= 0 <= _end(one, "high") for one in others)
        sentences.append(
            f"Paired by prompt, {unclear} of {len(others)} other {noun} cannot be told from it (95 % interval of"
            " the difference). It was picked as the best of all, so that the others look further behind than they are."
        )
    return sentences


def _end(interval: TrialInterval, side: str) -> float:
    found = interval["high"] if side == "high" else interval["low"]
    assert found is not None
    return found
