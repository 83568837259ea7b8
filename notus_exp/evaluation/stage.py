"""The stage `evaluation`: metrics of base and policy from their answers and likelihoods."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.evaluation import preferences, verifiable
from notus_exp.files import (
    COMPLETIONS,
    DIVERGENCE,
    GENERATIONS,
    LIKELIHOODS,
    METRICS,
    PREFERENCES,
    SAMPLES,
    VERIFIABLE,
)
from notus_exp.slices import EvaluationSlice
from notus_exp.stage import Context
from notus_exp.statistics import Estimate

_HEADLINES = ("verifiable/strict", "preferences/accuracy/average", "preferences/accuracy/critique")


def run(slice: EvaluationSlice, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write the metrics and the tables by prompt of the evaluations that the slice asks for.

    Writes `metrics.json` (name -> value, low, high, n; null where the data cannot tell), `samples.json` (empty without
    `verifiable`), `preferences.parquet` and `verifiable.parquet` (only those asked for; see the modules of these names
    for the columns).

    Args:
        slice: Null for an evaluation that was not chosen.
        inputs: `feedback`; with `preferences` or `verifiable.kl_prompts` also `likelihoods`; with `verifiable` also
            `generations` (the policy's) and `generations_base`.
        out: An empty folder.
        context: Where progress is reported.

    Returns:
        Headline numbers, the labellings that the data has, and counts of what was left out and why.

    Raises:
        UserError: A log-prob is not finite, a rating column is missing, or a constraint is malformed.
    """
    metrics: dict[str, Estimate] = {}
    facts: dict[str, Any] = {}
    samples: list[dict[str, str]] = []
    if slice.verifiable is not None:
        policy, base = (pl.read_parquet(inputs[name] / GENERATIONS) for name in ("generations", "generations_base"))
        divergence = pl.read_parquet(inputs["likelihoods"] / DIVERGENCE) if slice.verifiable.kl_prompts else None
        answers = verifiable.pair(verifiable.measure(policy, divergence), verifiable.measure(base))
        answers.write_parquet(out / VERIFIABLE)
        metrics |= verifiable.estimates(answers)
        facts |= verifiable.left_out(answers)
        samples = verifiable.samples(policy, base)
        context.events.progress(1, 2)
    if slice.preferences is not None:
        comparison = preferences.compare(
            pl.read_parquet(inputs["likelihoods"] / LIKELIHOODS),
            _read_feedback(inputs["feedback"] / COMPLETIONS),
            aspects=slice.aspects,
            repair=slice.repair,
            beta=slice.beta,
        )
        comparison.records.write_parquet(out / PREFERENCES)
        metrics |= preferences.estimates(comparison)
        facts |= {"labellings": comparison.labellings, **preferences.left_out(comparison)}
    _write_json(out / METRICS, {name: _as_json(estimate) for name, estimate in metrics.items()})
    _write_json(out / SAMPLES, samples)
    context.events.progress(2, 2)
    return {**_headlines(metrics), **facts}


def _read_feedback(path: Path) -> pl.DataFrame:
    """Read what labellings need, and none of the texts."""
    present = pl.read_parquet_schema(path)
    needed = ("prompt_id", "row", "completion", "overall_score", "latent_quality")
    return pl.read_parquet(path, columns=[name for name in present if name in needed or name.startswith("rating_")])


def _headlines(metrics: dict[str, Estimate]) -> dict[str, float | None]:
    """Return base, policy and difference of the headline metrics, the difference with its interval."""
    shown: dict[str, float | None] = {}
    for name in _HEADLINES:
        if name in metrics:
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
