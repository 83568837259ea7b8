"""Studies with planted values that are told to W&B, and their groups as it shows them once offline runs are sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from notus_exp.comparison.analysis import analyse
from notus_exp.config.schema import Tracking
from notus_exp.contracts.comparison_file import ComparisonFile
from notus_exp.contracts.study_file import SearchSummary
from notus_exp.disk.outputs import read_study
from notus_exp.study.group import track
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.search.search_comparison import search_comparison
from notus_exp.study.search.summary import summary
from support.offline_runs import TRACKING, OfflineRun, read_runs
from support.searches import STRICT, TOKENS, FakeJobs, Values, good, search
from support.study_folders import Planted, edit, run_json, write_study

ARMS: Planted = {
    "critique": {0: {STRICT: [0.0, 1.0, 1.0, 0.0]}, 1: {STRICT: [0.0, 0.0, 1.0, 0.0]}},
    "average": {0: {STRICT: [1.0, 1.0, 1.0, 0.0]}, 1: {STRICT: [1.0, 1.0, 1.0, 1.0]}},
}


def planted(root: Path, arms: Planted = ARMS, **more: Any) -> Path:
    """A study whose runs report the means of their prompts, as real ones do."""
    folder = write_study(root, arms, **{"metric": STRICT, **more})
    for arm, by_seed in arms.items():
        for seed, values in by_seed.items():
            metrics = {
                name: {"value": float(np.mean(column)), "low": 0.0, "high": 1.0, "n": len(column)}
                for name, column in values.items()
            }
            choices = {"selection": arm, "evaluation": "verifiable", "judge": "openai"}
            own = {"metrics": metrics, "choices": choices}
            edit(run_json(folder, f"{arm}-s{seed}"), lambda content, own=own: content.update(own))
    return folder


def told(folder: Path, tracking: Tracking = TRACKING) -> ComparisonFile:
    """Tell W&B of a study of arms, as its command does at its end."""
    comparison = analyse(folder)
    track(tracking, read_study(folder), comparison, folder, pytest.fail)
    return comparison


def score(values: Values) -> Any:
    """Trial 0 is pruned, the second seed of trial 1 fails, trial 2 cannot be measured, the others are good."""
    number, seed = values["study.trial"], values["seed"]
    if number == "0":
        return Ended("pruned", "pruned at step 4: low")
    if number == "1" and seed == "1":
        return Ended("failed", "out of memory")
    return {TOKENS: 40.0} if number == "2" else good(values)


def searched(
    root: Path,
    trials: int = 5,
    seeds: Sequence[int] = (0, 1),
    score: Callable[[Values], Any] = score,
    changed: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found,
) -> tuple[Path, Any]:
    """A search of some trials, told to W&B as `changed` makes it; what it found, as changed."""
    folder = root / "outputs/studies/hunt"
    pruner = "median" if len(seeds) > 1 else "none"
    search(
        folder, FakeJobs(folder, score), trials=trials, seeds=seeds, pruner=pruner, constraints={TOKENS: {"most": 60}}
    )
    study, found = read_study(folder), changed(cast(dict[str, Any], summary(folder)))
    track(TRACKING, study, search_comparison(folder, study), folder, pytest.fail, cast(SearchSummary, found))
    return folder, found


class Group:
    """The W&B runs of a study; one that was told twice counts once, as it was told last.

    Args:
        folder: Where the study is.
    """

    def __init__(self, folder: Path) -> None:
        sent = [run for run in read_runs(folder) if "superseded" not in run.path.parts]
        assert len({run.run.run_id for run in sent}) == len(sent), "`wandb sync` sends each run once"
        self.study = next(run for run in sent if run.run.job_type == "study")
        self.runs = [run for run in sent if run is not self.study]
        assert len({run.run.run_group for run in sent}) == 1

    def means(self, metric: str, key: str = "arm", kind: str | None = None) -> dict[Any, float]:
        """Return what W&B shows for a metric of the summary when runs are grouped by a key of their config."""
        found: dict[Any, list[float]] = defaultdict(list)
        for run in self.runs:
            if metric in run.summary and kind in (None, run.run.job_type):
                found[run.config[key]].append(run.summary[metric])
        return {arm: sum(values) / len(values) for arm, values in found.items()}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a table of the study's run."""
        table = self.study.table(name)
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def numbers(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> list[list[Any]]:
    """Return some columns of rows."""
    wanted = list(columns)
    return [[row[column] for column in wanted] for row in rows]


def names(runs: Iterable[OfflineRun]) -> list[str]:
    return sorted(run.run.display_name for run in runs)
