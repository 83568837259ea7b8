"""The judged evaluations: from verdicts to metrics, files and notes. A score on too many failed verdicts is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk.files import ALPACA_EVAL, GENERATIONS, JUDGMENTS, MT_BENCH
from notus_exp.evaluation.alpaca_eval import length_control
from notus_exp.evaluation.alpaca_eval import published as alpaca_files
from notus_exp.evaluation.alpaca_eval import scores as alpaca
from notus_exp.evaluation.mt_bench import ratings as mt_bench
from notus_exp.evaluation.part import Part
from notus_exp.evaluation.question_files import read_alpaca_prompts
from notus_exp.inference.estimates import Estimate
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings

SIDES = {"": "policy", "base/": "base"}
"""Prefix of a side's metrics -> the name of its files."""


def alpaca_eval_part(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Measure win rates, and write files that AlpacaEval's own tools read, a folder a side.

    Args:
        settings: With `alpaca_eval`.
        inputs: `judgments_alpaca_eval`, `generations_alpaca_eval`, and the same of the base model (`..._base`).
        out: Gets alpaca_eval/<policy or base>/ with model_outputs.json, annotations.json and leaderboard.csv.
        context: `sources` has the prompts with reference answers and, where given, difficulties and a leaderboard.
    """
    assert settings.alpaca_eval is not None
    references = _references(Path(context.sources["alpaca_eval.prompts"][0]))
    verdicts = _verdicts(inputs, "alpaca_eval")
    facts, note = _failures(verdicts, "alpaca_eval", settings.max_failure_rate)
    tables = {}
    for prefix, side in SIDES.items():
        combined = alpaca.combine_orders(verdicts[prefix])
        answers = pl.read_parquet(inputs[_node("generations", "alpaca_eval", prefix)] / GENERATIONS)
        answers = answers.select("prompt_id", "instruction", dataset="category", model="response")
        table = answers.join(references, on="prompt_id", how="left", maintain_order="left")
        tables[prefix] = table.join(combined.preferences, on="prompt_id", how="left", maintain_order="left")
        counts = {"inconsistent": combined.inconsistent, "draws": combined.draws, "failed": combined.failed}
        facts |= {f"alpaca_eval_{side}_{name}": count for name, count in counts.items()}
    both = tables[""].join(tables["base/"].select("prompt_id", "preference"), on="prompt_id", suffix="/base")
    both.select("prompt_id", "preference", "preference/base").write_parquet(out / ALPACA_EVAL)
    samples = _samples(tables)
    if note:
        return Part({}, facts, samples, [note])
    metrics = alpaca.estimates(tables[""], tables["base/"])
    notes: list[str] = []
    for prefix, side in SIDES.items():
        controlled, reason = _length_controlled(tables[prefix], settings, context)
        if controlled is not None:
            metrics[f"{prefix}alpaca_eval/length_controlled_win_rate"] = controlled
        notes += [f"{side}: {reason}"] if reason else []
        _write_files(out / "alpaca_eval" / side, tables[prefix], settings, side, controlled)
    place, words = _place(metrics["alpaca_eval/win_rate"], settings, context)
    return Part(metrics, {**facts, **place}, samples, [*notes, *words])


def mt_bench_part(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Measure ratings per turn and category, and draw the radar plot of policy and base.

    Args:
        settings: With `mt_bench`.
        inputs: `judgments_mt_bench`, `generations_mt_bench`, and the same of the base model (`..._base`).
        out: Gets mt_bench.svg.
        context: Not read.
    """
    verdicts = _verdicts(inputs, "mt_bench")
    facts, note = _failures(verdicts, "mt_bench", settings.max_failure_rate)
    asked, rated = {}, {}
    for prefix in SIDES:
        answers = pl.read_parquet(inputs[_node("generations", "mt_bench", prefix)] / GENERATIONS)
        asked[prefix] = answers.select("turn", "category", question_id="prompt_id")
        rated[prefix] = verdicts[prefix].select("turn", question_id="prompt_id", score="value")
    keys = ["question_id", "turn"]
    both = asked[""].join(rated[""], on=keys, how="left").join(rated["base/"], on=keys, how="left", suffix="/base")
    both.rename({"question_id": "prompt_id"}).write_parquet(out / MT_BENCH)
    if note:
        return Part({}, facts, [], [note])
    ratings = {side: mt_bench.measure(rated[prefix], asked[prefix]) for prefix, side in SIDES.items()}
    (out / "mt_bench.svg").write_bytes(mt_bench.radar(ratings))
    return Part(mt_bench.estimates(rated[""], asked[""], rated["base/"]), facts)


def _node(stage: str, evaluation: str, prefix: str) -> str:
    return f"{stage}_{evaluation}" + ("_base" if prefix else "")


def _verdicts(inputs: dict[str, Path], evaluation: str) -> dict[str, pl.DataFrame]:
    return {prefix: pl.read_parquet(inputs[_node("judgments", evaluation, prefix)] / JUDGMENTS) for prefix in SIDES}


def _failures(verdicts: Mapping[str, pl.DataFrame], evaluation: str, most: float) -> tuple[dict[str, Any], str | None]:
    """Return counts of verdicts and failures, and the sentence that refuses a score where too many failed."""
    facts: dict[str, Any] = {}
    note = None
    for prefix, side in SIDES.items():
        table = verdicts[prefix]
        failed = table["value"].null_count()
        facts |= {f"{evaluation}_{side}_verdicts": table.height, f"{evaluation}_{side}_failed_verdicts": failed}
        if failed > most * table.height:
            reasons = table.filter(pl.col("value").is_null())["reason"].value_counts(sort=True)
            note = (
                f"{evaluation} is not reported: {failed} of {table.height} verdicts on the {side} failed, more than "
                f"judge.max_failure_rate={most:g}; the commonest reason: {reasons['reason'][0]}. Their raw texts are "
                f"in {JUDGMENTS} of the stage judgments"
            )
    return facts, note


def _references(path: Path) -> pl.DataFrame:
    rows = [(prompt.prompt_id, prompt.reference, prompt.reference_name) for prompt in read_alpaca_prompts(path)]
    return pl.DataFrame(rows, schema=["prompt_id", "reference", "reference_name"], orient="row")


def _write_files(
    folder: Path, table: pl.DataFrame, settings: EvaluationSettings, side: str, controlled: Estimate | None
) -> None:
    folder.mkdir(parents=True)
    name = settings.model if side == "base" else f"{settings.model}-policy"
    alpaca_files.write_model_outputs(folder / "model_outputs.json", table, name)
    alpaca_files.write_annotations(
        folder / "annotations.json",
        table,
        reference_name=str(table["reference_name"].drop_nulls().first() or "reference"),
        model_name=name,
        annotator=settings.judge,
    )
    rates = {} if controlled is None else {name: controlled.value}
    alpaca_files.write_leaderboard(folder / "leaderboard.csv", {name: alpaca.measure(table)}, rates)


def _length_controlled(
    table: pl.DataFrame, settings: EvaluationSettings, context: Context
) -> tuple[Estimate | None, str | None]:
    """Return the length-controlled win rate, or why there is none; neither where no difficulties were given."""
    assert settings.alpaca_eval is not None
    place = context.sources.get("alpaca_eval.difficulty")
    if not place:
        return None, None
    asked = settings.alpaca_eval
    found = length_control.length_controlled(
        table, alpaca_files.read_difficulty(Path(place[0])), resamples=asked.resamples, seed=asked.seed
    )
    if reason := length_control.why_none(found):
        return None, reason
    if found.n_without_difficulty:
        return (
            found.win_rate,
            f"{found.n_without_difficulty} prompts have no difficulty: not in the length-controlled rate",
        )
    return found.win_rate, None


def _place(win_rate: Estimate, settings: EvaluationSettings, context: Context) -> tuple[dict[str, Any], list[str]]:
    place = context.sources.get("alpaca_eval.leaderboard")
    if not place or not win_rate.n:
        return {}, []
    found = alpaca_files.place_in_leaderboard(win_rate, Path(place[0]), name=settings.model)
    between = [f"{name} ({rate:.1f})" for name, rate in (pair for pair in (found.above, found.below) if pair)]
    ranks = f", {found.best} to {found.worst} within the interval" if found.best is not None else ""
    words = f"alpaca_eval: rank {found.rank} of {found.of}{ranks}; beside {' and '.join(between)}"
    return {"alpaca_eval_rank": found.rank, "alpaca_eval_of": found.of}, [words]


def _samples(tables: Mapping[str, pl.DataFrame]) -> list[dict[str, str]]:
    """Return up to 12 prompts with both answers and the judge's preference."""
    base = tables["base/"].select("prompt_id", base="model", base_preference="preference")
    both = tables[""].join(base, on="prompt_id", maintain_order="left").head(12)
    return [
        {
            "prompt_id": row["prompt_id"],
            "instruction": row["instruction"],
            "reference": row["reference"] or "",
            "base": row["base"],
            "base_preference": str(row["base_preference"]),
            "policy": row["model"],
            "policy_preference": str(row["preference"]),
        }
        for row in both.iter_rows(named=True)
    ]
