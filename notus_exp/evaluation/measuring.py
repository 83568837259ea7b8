"""The stage `evaluation`: metrics of base and policy from their answers and likelihoods."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk.files import (
    BENCHMARKS,
    COMPLETIONS,
    DIVERGENCE,
    GENERATIONS,
    IFEVAL,
    LIKELIHOODS,
    METRICS,
    PREFERENCES,
    SAMPLES,
    VERIFIABLE,
)
from notus_exp.disk.hashing import prompt_id
from notus_exp.evaluation import judged
from notus_exp.evaluation.ifeval import checking as ifeval
from notus_exp.evaluation.lm_eval import measure as lm_eval
from notus_exp.evaluation.part import Part
from notus_exp.evaluation.preferences import agreement as preferences
from notus_exp.evaluation.verifiable import answers as verifiable
from notus_exp.inference.estimates import Estimate
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings

_HEADLINES = (
    "verifiable/strict",
    "preferences/accuracy/average",
    "preferences/accuracy/critique",
    "alpaca_eval/win_rate",
    "mt_bench/score",
    "ifeval/prompt_strict",
)

_UNREPAIRED = (
    "preferences/*/critique_repaired is not reported: the repair takes completions with an overall score and ratings, "
    "and the scored ones have none"
)

Measure = Callable[[EvaluationSettings, dict[str, Path], Path, Context], Part]
"""Measures one evaluation; its tables by prompt go into the folder."""


def run(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write the metrics and the tables by prompt of the evaluations that the settings ask for.

    Writes `metrics.json` (name -> value, low, high, n; null where the data cannot tell), `samples.json` (answers of
    base and policy; empty where nothing was generated), and of those asked for `preferences.parquet`,
    `verifiable.parquet`, `ifeval.parquet` (see the modules of these names for the columns), `alpaca_eval/` and
    `mt_bench.svg`.

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
    measures: dict[str, Measure] = {
        "verifiable": _verifiable,
        "preferences": _preferences,
        "alpaca_eval": judged.alpaca_eval_part,
        "mt_bench": judged.mt_bench_part,
        "ifeval": _ifeval,
        "lm_eval": _lm_eval,
    }
    chosen = [name for name in measures if getattr(settings, name) is not None]
    parts = []
    for done, name in enumerate(chosen, start=1):
        parts.append(measures[name](settings, inputs, out, context))
        context.events.progress(done, len(chosen))
    metrics = {name: estimate for part in parts for name, estimate in part.metrics.items()}
    _write_json(out / METRICS, {name: _as_json(estimate) for name, estimate in metrics.items()})
    _write_json(out / SAMPLES, next((part.samples for part in parts if part.samples), []))
    facts = {name: fact for part in parts for name, fact in part.facts.items()}
    return {**_headlines(metrics), **facts, "notes": [note for part in parts for note in part.notes]}


def _verifiable(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    assert settings.verifiable is not None
    names = ("generations_verifiable", "generations_verifiable_base")
    policy, base = (pl.read_parquet(inputs[name] / GENERATIONS) for name in names)
    divergence = pl.read_parquet(inputs["likelihoods"] / DIVERGENCE) if settings.verifiable.kl_prompts else None
    answers = verifiable.pair(verifiable.measure(policy, divergence), verifiable.measure(base))
    answers.write_parquet(out / VERIFIABLE)
    return Part(verifiable.estimates(answers), verifiable.left_out(answers), verifiable.samples(policy, base))


def _preferences(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    comparison = preferences.compare(
        pl.read_parquet(inputs["likelihoods"] / LIKELIHOODS),
        _read_feedback(inputs["feedback"] / COMPLETIONS),
        aspects=settings.aspects,
        beta=settings.beta,
    )
    comparison.records.write_parquet(out / PREFERENCES)
    facts = {"labellings": comparison.labellings, **preferences.left_out(comparison)}
    notes = [] if preferences.CRITIQUE_REPAIRED in comparison.labellings else [_UNREPAIRED]
    return Part(preferences.estimates(comparison), facts, notes=notes)


def _ifeval(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    prompts = ifeval.read_prompts(Path(context.sources["ifeval.prompts"][0]))
    sides = {}
    facts: dict[str, Any] = {}
    for prefix, name in (("", "generations_ifeval"), ("base/", "generations_ifeval_base")):
        answers = pl.read_parquet(inputs[name] / GENERATIONS).select("prompt_id", "response")
        responses = dict(answers.iter_rows())
        asked = [prompt for prompt in prompts if prompt_id(prompt.text) in responses]
        sides[prefix] = ifeval.measure(asked, responses)
        facts |= {f"{prefix}ifeval_{count}": number for count, number in ifeval.left_out(sides[prefix]).items()}
    sides[""].join(sides["base/"], on="prompt_id", suffix="/base").write_parquet(out / IFEVAL)
    return Part(ifeval.estimates(sides[""], sides["base/"]), facts)


def _lm_eval(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    names = ("benchmarks", "benchmarks_base")
    policy, base = (json.loads((inputs[name] / BENCHMARKS).read_text(encoding="utf-8")) for name in names)
    return Part(lm_eval.estimates(policy, base), {})


def _read_feedback(path: Path) -> pl.DataFrame:
    """Read what labellings need, and none of the texts."""
    present = pl.read_parquet_schema(path)
    needed = ("prompt_id", "row", "completion", "overall_score", "latent_quality")
    return pl.read_parquet(path, columns=[name for name in present if name in needed or name.startswith("rating_")])


def _headlines(metrics: dict[str, Estimate]) -> dict[str, float | None]:
    """Return base, policy and difference of the headline metrics, the difference with its interval."""
    shown: dict[str, float | None] = {}
    for name in _HEADLINES:
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
