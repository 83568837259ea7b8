"""The evaluation `alpaca_eval`: its prompts, what is judged, and from verdicts to win rates and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.judge_settings import Judge
from notus_exp.disk.files import BY_PROMPT, GENERATIONS, VERDICT_CACHE
from notus_exp.evaluation.alpaca_eval import length_adjusted, length_control, published, win_rates
from notus_exp.evaluation.alpaca_eval.questions import read_alpaca_prompts
from notus_exp.evaluation.alpaca_eval.spec import NOT_LENGTH_CONTROLLED
from notus_exp.evaluation.kit.both_sides import SIDES, failures, node_of, read_verdicts, snapshots
from notus_exp.evaluation.kit.entrance import BASE, Locate, Part
from notus_exp.generation.conversation import Question, read_conversations
from notus_exp.inference.estimates import Estimate
from notus_exp.judging.judge import Judged, prefer
from notus_exp.judging.verdicts import AnswerPair
from notus_exp.reporting.texts import many
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings, GenerationsSettings

LENGTH_ADJUSTED = "alpaca_eval/length_adjusted_win_rate"


def questions(
    settings: GenerationsSettings, inputs: dict[str, Path], sources: Mapping[str, list[str]]
) -> list[Question]:
    """Return the prompts, their dataset as the category."""
    path = Path(sources["alpaca_eval.prompts"][0])
    return [
        Question(prompt.prompt_id, (prompt.instruction,), settings.temperature, prompt.dataset)
        for prompt in read_alpaca_prompts(path)
    ]


def judge(generations: Path, judge: Judge, context: Context) -> Judged:
    """Have each answer compared with its reference."""
    prompts = read_alpaca_prompts(Path(context.sources["alpaca_eval.prompts"][0]))
    references = {prompt.prompt_id: prompt.reference for prompt in prompts}
    answers = read_conversations(generations)
    pairs = [
        AnswerPair(identity, turns[0]["instruction"], references[identity], turns[0]["response"])
        for identity, turns in answers.items()
    ]
    return prefer(
        pairs,
        judge,
        context.cache / VERDICT_CACHE,
        context.events.progress,
        hardware=context.hardware,
        **context.paying(),
    )


def measure(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Measure win rates, and write files that AlpacaEval's own tools read, a folder a side.

    Args:
        settings: With `alpaca_eval`.
        inputs: `judgments_alpaca_eval`, `generations_alpaca_eval`, and the same of the base model (`..._base`).
        out: Gets alpaca_eval/<policy or base>/ with model_outputs.json, annotations.json and leaderboard.csv.
        context: `sources` has the prompts with reference answers and, where given, difficulties and a leaderboard.
    """
    assert settings.alpaca_eval is not None
    references = _references(Path(context.sources["alpaca_eval.prompts"][0]))
    verdicts = read_verdicts(inputs, "alpaca_eval")
    facts, note = failures(verdicts, "alpaca_eval", settings.max_failure_rate, context.judge)
    tables = {}
    for prefix, side in SIDES.items():
        combined = win_rates.combine_orders(verdicts[prefix])
        answers = pl.read_parquet(inputs[node_of("generations", "alpaca_eval", prefix)] / GENERATIONS, glob=False)
        answers = answers.select("prompt_id", "instruction", dataset="category", model="response")
        table = answers.join(references, on="prompt_id", how="left", maintain_order="left")
        tables[prefix] = table.join(combined.preferences, on="prompt_id", how="left", maintain_order="left")
        counts = {"inconsistent": combined.inconsistent, "draws": combined.draws, "failed": combined.failed}
        facts |= {f"alpaca_eval_{side}_{name}": count for name, count in counts.items()}
    both = tables[""].join(tables["base/"].select("prompt_id", "preference"), on="prompt_id", suffix="/base")
    both.select("prompt_id", "preference", "preference/base").write_parquet(out / BY_PROMPT.format("alpaca_eval"))
    samples = _samples(tables)
    if note:
        return Part({}, facts, samples, [note])
    metrics = win_rates.estimates(tables[""], tables["base/"])
    notes: list[str] = []
    named = next(iter(snapshots(verdicts)), None)
    for prefix, side in SIDES.items():
        adjusted, reason = _length_adjusted(tables[prefix], settings, context)
        if adjusted is not None:
            metrics[f"{prefix}{LENGTH_ADJUSTED}"] = adjusted
        notes += [f"{side}: {reason}"] if reason else []
        _write_files(out / "alpaca_eval" / side, tables[prefix], settings, side, adjusted, named)
    if LENGTH_ADJUSTED in metrics:
        notes.append(f"{LENGTH_ADJUSTED}: {NOT_LENGTH_CONTROLLED}")
    place, words = _place(metrics["alpaca_eval/win_rate"], settings, context)
    return Part(metrics, {**facts, **place}, samples, [*notes, *words])


def by_prompt(place: Locate) -> pl.DataFrame:
    """Return points and length of each prompt."""
    verdicts = pl.read_parquet(place("evaluation", BY_PROMPT.format("alpaca_eval")), glob=False)
    table = verdicts.select("prompt_id")
    for prefix, suffix, node in (("", "", ""), (BASE, "/base", "_base")):
        scored = win_rates.points(verdicts[f"preference{suffix}"])
        answers = pl.read_parquet(place(f"generations_alpaca_eval{node}", GENERATIONS), glob=False)
        lengths = answers.select("prompt_id", pl.col("response").str.len_chars().alias(f"{prefix}characters"))
        table = table.with_columns(
            scored.alias(f"{prefix}win_rate"),
            (win_rates.DRAW_POINTS + 50 * (scored - win_rates.DRAW_POINTS).sign()).alias(f"{prefix}discrete_win_rate"),
        ).join(lengths, on="prompt_id", how="left", maintain_order="left")
    return table


def check_files(files: Mapping[str, Path]) -> None:
    """Read prompts, difficulties and leaderboard, where they are given."""
    readers = {
        "prompts": read_alpaca_prompts,
        "difficulty": published.read_difficulty,
        "leaderboard": published.read_leaderboard,
    }
    for setting, path in files.items():
        readers[setting](path)


def _references(path: Path) -> pl.DataFrame:
    rows = [(prompt.prompt_id, prompt.reference, prompt.reference_name) for prompt in read_alpaca_prompts(path)]
    return pl.DataFrame(rows, schema=["prompt_id", "reference", "reference_name"], orient="row")


def _write_files(
    folder: Path,
    table: pl.DataFrame,
    settings: EvaluationSettings,
    side: str,
    adjusted: Estimate | None,
    snapshot: str | None,
) -> None:
    folder.mkdir(parents=True)
    name = settings.model if side == "base" else f"{settings.model}-policy"
    published.write_model_outputs(folder / "model_outputs.json", table, name)
    published.write_annotations(
        folder / "annotations.json",
        table,
        reference_name=str(table["reference_name"].drop_nulls().first() or "reference"),
        model_name=name,
        annotator=settings.judge,
        snapshot=snapshot,
    )
    rates = {} if adjusted is None else {name: adjusted.value}
    scores = {name: win_rates.measure(table)}
    published.write_leaderboard(folder / "leaderboard.csv", scores, rates)


def _length_adjusted(
    table: pl.DataFrame, settings: EvaluationSettings, context: Context
) -> tuple[Estimate | None, str | None]:
    """Return the length-adjusted win rate, or why there is none; neither where no difficulties were given."""
    assert settings.alpaca_eval is not None
    place = context.sources.get("alpaca_eval.difficulty")
    if not place:
        return None, None
    asked = settings.alpaca_eval
    found = length_adjusted.length_adjusted(
        table, published.read_difficulty(Path(place[0])), resamples=asked.resamples, seed=asked.seed
    )
    if reason := length_control.why_none(found):
        return None, reason
    if found.n_without_difficulty:
        return (
            found.win_rate,
            f"{many(found.n_without_difficulty, 'prompt has', 'prompts have')} no difficulty: "
            "not in the length-adjusted rate",
        )
    return found.win_rate, None


def _place(win_rate: Estimate, settings: EvaluationSettings, context: Context) -> tuple[dict[str, Any], list[str]]:
    place = context.sources.get("alpaca_eval.leaderboard")
    if not place or not win_rate.n:
        return {}, []
    found = published.place_in_leaderboard(win_rate, Path(place[0]), name=settings.model)
    between = [f"{name} ({rate:.1f})" for name, rate in (pair for pair in (found.above, found.below) if pair)]
    ranks = f", {found.best} to {found.worst} within the interval" if found.best is not None else ""
    words = (
        f"alpaca_eval: rank {found.rank} of {found.of}{ranks}; beside {' and '.join(between)}; {published.OF_ONE_JUDGE}"
    )
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
