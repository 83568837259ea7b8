"""The stage `evaluation`: metrics of base and policy from their answers and likelihoods.

Its artifact holds

    metrics.json     name -> value, low, high (of the 95 % interval), n; null where the data cannot tell. `base/...` is
                     the base model's, `difference/...` the paired difference of policy and base model
    samples.json     answers of base and policy to some prompts; empty where nothing was generated
    preferences.parquet                        one row a prompt and raw row (preferences/agreement.py has the columns)
    verifiable.parquet, ifeval.parquet         one row a prompt (verifiable/checked.py, ifeval/checking.py)
    alpaca_eval.parquet, mt_bench.parquet      one row a prompt, or a prompt and turn (alpaca_eval/measure.py,
                                               mt_bench/measure.py)
    alpaca_eval/, mt_bench.svg                 what these benchmarks' own tools read; a drawing by category

of the evaluations that were asked for, the tables so that two runs can be compared paired by prompt.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from notus_exp.disk.files import METRICS, SAMPLES
from notus_exp.evaluation.catalogue import CATALOGUE, chosen, entrance
from notus_exp.inference.estimates import Estimate
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings


def run(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write the metrics and the tables by prompt of the evaluations that the settings ask for.

    Args:
        settings: Null for an evaluation that was not chosen.
        inputs: `feedback`; the answers (`generations_<evaluation>` and with `_base`), `likelihoods`, `judgments_...`
            and `benchmarks` that the evaluations need.
        out: An empty folder.
        context: Where progress is reported.

    Returns:
        Headline numbers, the labellings that the data has, counts of what was left out and why, and `notes`: what a
        reader of the metrics must know, such as a score that is not reported because too many verdicts failed.

    Raises:
        UserError: A log-prob is not finite, a rating column is missing, or a constraint is malformed.
    """
    parts = []
    wanted = chosen(settings)
    for done, spec in enumerate(wanted, start=1):
        parts.append(entrance(spec.name).measure(settings, inputs, out, context))
        context.events.progress(done, len(wanted))
    metrics = {name: estimate for part in parts for name, estimate in part.metrics.items()}
    _write_json(out / METRICS, {name: _as_json(estimate) for name, estimate in metrics.items()})
    _write_json(out / SAMPLES, next((part.samples for part in parts if part.samples), []))
    facts = {name: fact for part in parts for name, fact in part.facts.items()}
    return {**_leads(metrics), **facts, "notes": [note for part in parts for note in part.notes]}


def _leads(metrics: dict[str, Estimate]) -> dict[str, float | None]:
    """Return base, policy and difference of the metrics that lead, the difference with its interval."""
    shown: dict[str, float | None] = {}
    for name in (f"{spec.name}/{lead}" for spec in CATALOGUE.values() for lead in spec.leads):
        if name in metrics and f"difference/{name}" in metrics:
            difference = metrics[f"difference/{name}"]
            shown[f"base/{name}"] = _number(metrics[f"base/{name}"].value)
            shown[name] = _number(metrics[name].value)
            shown[f"difference/{name}"] = _number(difference.value)
            shown[f"difference/{name}/low"] = _number(difference.low)
            shown[f"difference/{name}/high"] = _number(difference.high)
    return shown


def _as_json(estimate: Estimate) -> dict[str, float | int | None]:
    return {name: _number(number) for name, number in estimate._asdict().items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
