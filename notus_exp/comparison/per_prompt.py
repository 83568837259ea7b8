"""The value of each prompt in a run: what pairs two runs, and what a crossed table of seeds by prompts is made of.

A prompt has one value a metric. Where an evaluation has several rows of a prompt they become one:

    preferences     the mean over the prompt's records (rows of the raw data)
    mt_bench        the mean over the turns; none where a turn has no rating, since the turns differ in difficulty
    ifeval/inst_*   instructions followed, over the mean number of instructions of a prompt: its mean over prompts is
                    the share of all instructions; the same for the instructions of one kind
    lm_eval         a question is a prompt, `<task>/<its number>`

so a mean over prompts may differ a little from run.json's, which weights records or turns. What is no mean over prompts
(a length-controlled rate, a corpus score) has no value by prompt: such metrics are known by run only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.contracts.run_file import RunFile
from notus_exp.disk.outputs import artifact
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import entrance, in_reading_order
from notus_exp.evaluation.kit.entrance import BASE, MOST
from notus_exp.evaluation.metrics import metric_of
from notus_exp.inference.crossed import Array


class RunValues(NamedTuple):
    """The values by prompt of one run.

    Attributes:
        tables: By evaluation: `prompt_id` (unique) and Float64 columns `<metric>` and `base/<metric>`; null and NaN
            are missing. Of some metrics also `most/<metric>`, the largest value that each prompt can have.
    """

    tables: dict[str, pl.DataFrame]

    def metrics(self) -> list[str]:
        """Return the metrics that have values by prompt, in the tables' order."""
        return [
            name
            for table in self.tables.values()
            for name in table.columns
            if name != "prompt_id" and not name.startswith((BASE, MOST))
        ]

    def most(self, metric: str) -> float | None:
        """Return the largest value that a prompt can have, where the prompts tell it."""
        table = self.tables.get(metric.partition("/")[0])
        if table is None or MOST + metric not in table.columns:
            return None
        return cast("float | None", table[MOST + metric].max())

    def column(self, metric: str, *, base: bool = False) -> dict[str, float]:
        """Return prompt id -> value of the policy or of the base model; a missing value is NaN.

        A metric of some prompts only (a task, a category, a kind of constraint) has those that it has a value for.
        Empty where the run has no such column.
        """
        known, values = self.rows(metric, base=base)
        table = self.tables.get(metric.partition("/")[0])
        return (
            dict(zip(table["prompt_id"].filter(known), values, strict=True))
            if known.any() and table is not None
            else {}
        )

    def rows(self, metric: str, *, base: bool = False) -> tuple[NDArray[np.bool_], Array]:
        """Return which rows of the evaluation's table `column` has, and the values of these.

        Returns:
            Shape (rows,), and (those,); of a run without such a column no row is, and of one without such a table
            there is none.
        """
        name = BASE + metric if base else metric
        table = self.tables.get(metric.partition("/")[0])
        if table is None or name not in table.columns:
            return np.zeros(0 if table is None else table.height, dtype=np.bool_), np.empty(0)
        values = table[name]
        if not metric_of(metric).of_some_prompts:
            return np.ones(table.height, dtype=np.bool_), values.fill_null(math.nan).to_numpy()
        return values.is_not_null().to_numpy(), values.drop_nulls().to_numpy()


def run_values(folder: Path, run: RunFile) -> RunValues:
    """Read the values by prompt of a finished run, of the metrics that its run.json reports.

    A metric that the run refused to report, such as a score on too many failed verdicts, is not there.

    Args:
        folder: The study's folder.
        run: Content of run.json.

    Raises:
        UserError: An artifact's file is missing.
    """
    measured = {name for name in run["metrics"] if not name.startswith((BASE, "difference/"))}
    tables = {}
    for evaluation in (spec.name for spec in in_reading_order()):
        if not any(name.startswith(f"{evaluation}/") for name in measured):
            continue
        try:
            table = entrance(evaluation).by_prompt(lambda node, file: artifact(folder, run, node) / file)
        except (FileNotFoundError, KeyError) as error:
            raise UserError(
                f"run {run['run_id']} is finished, but its values of {evaluation} are missing: {error}",
                "delete its folder in runs/ and give the study's command again: it makes what is missing",
            ) from error
        table = _named(table, evaluation)
        known = [name for name in table.columns if _without_prefix(name) in measured]
        tables[evaluation] = table.select("prompt_id", pl.col(known).cast(pl.Float64))
    return RunValues(tables)


def on_shared_prompts(runs: Mapping[str, Mapping[int, RunValues]]) -> tuple[dict[str, dict[int, RunValues]], list[str]]:
    """Leave of each evaluation the prompts that all runs were asked, and say how many go.

    A run is not asked prompts that its data hold (`verifiable`), so runs of different data may have others of them.

    Args:
        runs: Arm -> seed -> values.
    """
    asked: dict[str, list[set[str]]] = {}
    for values in (values for by_seed in runs.values() for values in by_seed.values()):
        for name, table in values.tables.items():
            asked.setdefault(name, []).append(set(table["prompt_id"]))
    shared = {name: set.intersection(*prompts) for name, prompts in asked.items()}
    every = {name: set.union(*prompts) for name, prompts in asked.items()}
    notes = [
        f"{name}: {len(every[name] - shared[name])} of {len(every[name])} prompts were not asked in every run, since a"
        " run is not asked what its data hold; they are left out"
        for name in asked
        if every[name] != shared[name]
    ]

    def kept(values: RunValues) -> RunValues:
        """Return a run's values of the shared prompts alone."""
        wanted = {name: pl.col("prompt_id").is_in(sorted(shared[name])) for name in values.tables}
        return RunValues({name: table.filter(wanted[name]) for name, table in values.tables.items()})

    return {arm: {seed: kept(values) for seed, values in by_seed.items()} for arm, by_seed in runs.items()}, notes


def metrics_by_prompt(folder: Path, run: RunFile) -> list[str]:
    """Return the metrics of a finished run that have a value by prompt: those that can be compared in pairs."""
    return run_values(folder, run).metrics()


def seed_table(columns: Sequence[Mapping[str, float]], prompts: Sequence[str]) -> Array:
    """Return a table of K seeds by n prompts, NaN where missing.

    Args:
        columns: Prompt id -> value, one mapping a seed.
        prompts: The columns' order, the same for every arm.
    """
    rows = [[column.get(prompt, math.nan) for prompt in prompts] for column in columns]
    return np.array(rows, dtype=np.float64).reshape(len(columns), len(prompts))


def _named(table: pl.DataFrame, evaluation: str) -> pl.DataFrame:
    """Put the evaluation's name before each measure, behind the prefix of the base model."""
    renamed = {}
    for name in table.columns:
        measure = _without_prefix(name)
        if name != "prompt_id":
            renamed[name] = f"{name.removesuffix(measure)}{evaluation}/{measure}"
    return table.rename(renamed)


def _without_prefix(column: str) -> str:
    return column.removeprefix(BASE).removeprefix(MOST)
