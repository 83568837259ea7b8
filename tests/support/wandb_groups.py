"""A study's group as W&B would show it once all offline runs below a folder are sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from support.offline_runs import OfflineRun, read_runs


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
