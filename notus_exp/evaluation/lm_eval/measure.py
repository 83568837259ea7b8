"""The evaluation `lm_eval`: what the harness found, under our metric names and by question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk.files import BENCHMARKS
from notus_exp.evaluation.kit.entrance import BASE, Locate, Part
from notus_exp.evaluation.lm_eval.results import estimates, is_mean, usable_results
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings


def measure(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Take over the harness's results of both models.

    Args:
        settings: Not read.
        inputs: `benchmarks`, `benchmarks_base`.
        out: Gets nothing.
        context: Not read.
    """
    policy, unusable = _read(inputs["benchmarks"] / BENCHMARKS)
    base, unusable_base = _read(inputs["benchmarks_base"] / BENCHMARKS)
    told = [*unusable, *(f"the base model's {one}" for one in unusable_base)]
    notes = [f"lm_eval: {one}, which is not a usable number, and was left out" for one in told]
    return Part(estimates(policy, base), {}, notes=notes)


def by_prompt(place: Locate) -> pl.DataFrame:
    """Return the questions of the metrics that are plain means over questions."""
    columns: dict[str, dict[str, float]] = {}
    for prefix, node in (("", "benchmarks"), (BASE, "benchmarks_base")):
        content, _ = _read(place(node, BENCHMARKS))
        for task, metrics in content["questions"].items():
            for metric, values in metrics.items():
                result = content["results"].get(task, {}).get(metric)
                if result and is_mean(values, result):
                    columns[f"{prefix}{task}/{metric}"] = {f"{task}/{number}": x for number, x in values.items()}
    prompts = sorted({prompt for column in columns.values() for prompt in column})
    series = {name: [column.get(prompt) for prompt in prompts] for name, column in columns.items()}
    return pl.DataFrame({"prompt_id": prompts, **series})


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    return usable_results(json.loads(path.read_text(encoding="utf-8")))


def check_files(files: Mapping[str, Path]) -> None:
    """Check nothing: the harness reads its task files itself."""
