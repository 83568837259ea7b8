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

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.disk.files import ALPACA_EVAL, BENCHMARKS, GENERATIONS, IFEVAL, MT_BENCH, PREFERENCES, VERIFIABLE
from notus_exp.disk.outputs import artifact
from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.scores import DRAW_POINTS, points

BASE = "base/"
"""Prefix of the columns of the untuned model."""

Array = NDArray[np.float64]
Span = tuple[float, float]

_SHARE = (0.0, 1.0)
_PERCENT = (0.0, 100.0)
_SPANS: dict[str, Span] = {
    **dict.fromkeys(("preferences/accuracy", "preferences/likelihood_accuracy"), _SHARE),
    "preferences/correlation": (-1.0, 1.0),
    **{f"verifiable/{name}": _SHARE for name in ("strict", "share", "kind", "repetition", "truncated", "degenerate")},
    **dict.fromkeys(("alpaca_eval/win_rate", "alpaca_eval/discrete_win_rate"), _PERCENT),
    **dict.fromkeys(("ifeval/prompt_strict", "ifeval/prompt_loose"), _SHARE),
}
_OF_ANY_BASE = {"preferences/accuracy": 0.5, "preferences/margin": 0.0}
"""What the implicit reward of a base model has by construction: it is 0 everywhere, and a tie counts half."""
_UNITS = {
    **dict.fromkeys((*(f"alpaca_eval/{name}win_rate" for name in ("", "discrete_", "length_controlled_")),), "points"),
    "alpaca_eval/characters": "characters",
    **{f"mt_bench/{name}": "points" for name in ("score", "turn_1", "turn_2", "category")},
    **{f"verifiable/{name}": name for name in ("words", "characters", "tokens")},
    "verifiable/kl": "nats",
}
_SAME = 1e-6
"""An lm_eval metric is a mean over questions where that mean is the harness's value within this."""


class RunValues(NamedTuple):
    """The values by prompt of one run.

    Attributes:
        tables: By evaluation: `prompt_id` (unique) and Float64 columns `<metric>` and `base/<metric>`; null and NaN
            are missing.
    """

    tables: dict[str, pl.DataFrame]

    def metrics(self) -> list[str]:
        """Return the metrics that have values by prompt, in the tables' order."""
        return [
            name
            for table in self.tables.values()
            for name in table.columns
            if name != "prompt_id" and not name.startswith(BASE)
        ]

    def column(self, metric: str, *, base: bool = False) -> dict[str, float]:
        """Return prompt id -> value of the policy or of the base model; a missing value is NaN.

        A metric of some prompts only (a task, a category, a kind of constraint) has those that it has a value for.
        Empty where the run has no such column.
        """
        name = BASE + metric if base else metric
        table = self.tables.get(metric.partition("/")[0])
        if table is None or name not in table.columns:
            return {}
        if metric.startswith("lm_eval/") or any(f"/{part}/" in metric for part in ("kind", "category")):
            table = table.drop_nulls(name)
        return dict(zip(table["prompt_id"], table[name].fill_null(math.nan), strict=True))


def run_values(folder: Path, run: dict[str, Any]) -> RunValues:
    """Read the values by prompt of a finished run, of the metrics that its run.json reports.

    A metric that the run refused to report, such as a score on too many failed verdicts, is not there.

    Args:
        folder: The study's folder.
        run: Content of run.json.

    Raises:
        UserError: An artifact's file is missing.
    """
    readers: dict[str, Callable[[Path, dict[str, Any]], pl.DataFrame]] = {
        "preferences": _preferences,
        "verifiable": _verifiable,
        "alpaca_eval": _alpaca_eval,
        "mt_bench": _mt_bench,
        "ifeval": _ifeval,
        "lm_eval": _lm_eval,
    }
    measured = {name for name in run["metrics"] if not name.startswith((BASE, "difference/"))}
    tables = {}
    for evaluation, read in readers.items():
        if not any(name.startswith(f"{evaluation}/") for name in measured):
            continue
        try:
            table = read(folder, run)
        except (FileNotFoundError, KeyError) as error:
            raise UserError(
                f"run {run['run_id']} is finished, but its values of {evaluation} are missing: {error}",
                "delete its folder in runs/ and give the study's command again: it makes what is missing",
            ) from error
        known = [name for name in table.columns if name.removeprefix(BASE) in measured]
        tables[evaluation] = table.select("prompt_id", pl.col(known).cast(pl.Float64))
    return RunValues(tables)


def metrics_by_prompt(folder: Path, run: dict[str, Any]) -> list[str]:
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


def span(metric: str) -> Span | None:
    """Return the least and the largest value that a prompt can have, where there are such."""
    return _SPANS.get(metric) or _SPANS.get("/".join(metric.split("/")[:2]))


def difference_span(metric: str, *, base: bool = False) -> Span | None:
    """Return the least and the largest difference of two values of a prompt, where there are such.

    Args:
        metric: Of both values.
        base: The second is the base model's.
    """
    known, constant = span(metric), of_any_base(metric) if base else None
    if known is None:
        return None
    low, high = known if constant is None else (constant, constant)
    return known[0] - high, known[1] - low


def of_any_base(metric: str) -> float | None:
    """Return the value that a base model has on every prompt by construction; None where it is measured."""
    return _OF_ANY_BASE.get("/".join(metric.split("/")[:2]))


def unit(metric: str) -> str:
    """Return the unit of a metric in the plural; "" for shares and for what has none."""
    return _UNITS.get(metric) or _UNITS.get("/".join(metric.split("/")[:2]), "")


def _evaluation(folder: Path, run: dict[str, Any], file: str) -> pl.DataFrame:
    return pl.read_parquet(artifact(folder, run, "evaluation") / file)


def _preferences(folder: Path, run: dict[str, Any]) -> pl.DataFrame:
    records = _evaluation(folder, run, PREFERENCES).drop("row", "completions")
    return _named(records.group_by("prompt_id").agg(pl.all().mean()).sort("prompt_id"), "preferences")


def _verifiable(folder: Path, run: dict[str, Any]) -> pl.DataFrame:
    answers = _evaluation(folder, run, VERIFIABLE)
    numbers = [name for name, kind in answers.schema.items() if kind == pl.Boolean or kind.is_numeric()]
    return _named(answers.select("prompt_id", *numbers), "verifiable")


def _alpaca_eval(folder: Path, run: dict[str, Any]) -> pl.DataFrame:
    verdicts = _evaluation(folder, run, ALPACA_EVAL)
    table = verdicts.select("prompt_id")
    for prefix, suffix, node in (("", "", ""), (BASE, "/base", "_base")):
        scored = points(verdicts[f"preference{suffix}"])
        answers = pl.read_parquet(artifact(folder, run, f"generations_alpaca_eval{node}") / GENERATIONS)
        lengths = answers.select("prompt_id", pl.col("response").str.len_chars().alias(f"{prefix}characters"))
        table = table.with_columns(
            scored.alias(f"{prefix}win_rate"),
            (DRAW_POINTS + 50 * (scored - DRAW_POINTS).sign()).alias(f"{prefix}discrete_win_rate"),
        ).join(lengths, on="prompt_id", how="left", maintain_order="left")
    return _named(table, "alpaca_eval")


def _mt_bench(folder: Path, run: dict[str, Any]) -> pl.DataFrame:
    rated = _evaluation(folder, run, MT_BENCH)
    table = rated.select(pl.col("prompt_id").unique(maintain_order=True))
    for prefix, column in (("", "score"), (BASE, "score/base")):
        rows = rated.select("prompt_id", "turn", "category", score=pl.col(column))
        parts = {"score": rows}
        parts |= {f"turn_{turn}": part for (turn,), part in rows.group_by("turn", maintain_order=True)}
        parts |= {f"category/{name}": part for (name,), part in rows.group_by("category", maintain_order=True)}
        for name, part in parts.items():
            whole = pl.when(pl.col("score").count() == pl.len()).then(pl.col("score").mean())
            scored = part.group_by("prompt_id").agg(whole.alias(prefix + name))
            table = table.join(scored, on="prompt_id", how="left", maintain_order="left")
    return _named(table, "mt_bench")


def _ifeval(folder: Path, run: dict[str, Any]) -> pl.DataFrame:
    checked = _evaluation(folder, run, IFEVAL)
    table = checked.select("prompt_id")
    for prefix, suffix in (("", ""), (BASE, "/base")):
        for mode in ("strict", "loose"):
            verdicts = checked.select("prompt_id", "instructions", followed=pl.col(f"{mode}{suffix}"))
            prompts = verdicts.select("prompt_id", pl.col("followed").list.all().alias(f"{prefix}prompt_{mode}"))
            flat = verdicts.drop_nulls("followed").explode("instructions", "followed")
            parts = [prompts, _followed(flat, f"{prefix}inst_{mode}")]
            for (kind,), rows in flat.group_by("instructions", maintain_order=True):
                parts.append(_followed(rows, f"{prefix}kind/{kind}/{mode}"))
            for part in parts:
                table = table.join(part, on="prompt_id", how="left", maintain_order="left")
    return _named(table, "ifeval")


def _followed(instructions: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the instructions that a prompt follows over the mean number of instructions of a prompt."""
    counts = instructions.group_by("prompt_id").agg(followed=pl.col("followed").sum(), asked=pl.len())
    return counts.select("prompt_id", (pl.col("followed") / pl.col("asked").mean()).alias(name))


def _lm_eval(folder: Path, run: dict[str, Any]) -> pl.DataFrame:
    """Return the questions of the metrics that are plain means over questions."""
    columns: dict[str, dict[str, float]] = {}
    for prefix, node in (("", "benchmarks"), (BASE, "benchmarks_base")):
        content = json.loads((artifact(folder, run, node) / BENCHMARKS).read_text(encoding="utf-8"))
        for task, metrics in content["questions"].items():
            for metric, values in metrics.items():
                result = content["results"].get(task, {}).get(metric)
                if result and abs(math.fsum(values.values()) / len(values) - result["value"]) <= _SAME:
                    columns[f"{prefix}{task}/{metric}"] = {f"{task}/{number}": x for number, x in values.items()}
    prompts = sorted({prompt for column in columns.values() for prompt in column})
    series = {name: [column.get(prompt) for prompt in prompts] for name, column in columns.items()}
    return _named(pl.DataFrame({"prompt_id": prompts, **series}), "lm_eval")


def _named(table: pl.DataFrame, evaluation: str) -> pl.DataFrame:
    """Put the evaluation's name before each measure, behind the prefix of the base model."""
    return table.rename(
        {
            name: f"{BASE if name.startswith(BASE) else ''}{evaluation}/{name.removeprefix(BASE)}"
            for name in table.columns
            if name != "prompt_id"
        }
    )
