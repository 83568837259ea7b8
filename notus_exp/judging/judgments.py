"""Stage `judgments`: a judge's verdicts on one side's answers to one evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.schema import Judge
from notus_exp.disk.files import GENERATIONS, JUDGMENTS, VERDICT_CACHE
from notus_exp.evaluation.question_files import read_alpaca_prompts, read_turns_questions, read_turns_references
from notus_exp.generation.conversation import read_conversations
from notus_exp.judging.judge import Judged, compare, grade
from notus_exp.judging.verdicts import VERDICTS_SCHEMA, Comparison, Grading
from notus_exp.stages.context import Context
from notus_exp.stages.settings import JudgmentsSettings


def run(settings: JudgmentsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Judge the answers and write `judgments.parquet`, one row a request (see `verdicts.VERDICTS_SCHEMA`).

    Replies of chat models are cached below the stages: a judging that was stopped, or that another run did, costs
    nothing again.

    Args:
        settings: Which evaluation, and what moves a verdict.
        inputs: `generations`: the answers of one model.
        out: Folder of the artifact.
        context: The judge; `sources` has the evaluation's files.

    Returns:
        Facts of `judge.Judged`.

    Raises:
        UserError: The judge cannot be reached or paid, or does not answer; what came is cached.
    """
    judges: dict[str, Callable[[Path, Judge, Context], Judged]] = {"alpaca_eval": _alpaca_eval, "mt_bench": _mt_bench}
    judged = judges[settings.evaluation](inputs["generations"] / GENERATIONS, _located(context), context)
    pl.DataFrame(judged.verdicts, schema=VERDICTS_SCHEMA, orient="row").write_parquet(out / JUDGMENTS)
    return judged.facts


def _located(context: Context) -> Judge:
    """Return the judge with the local paths of its files."""
    assert context.judge is not None, "the pipeline gives every worker the judge"
    template, path = (context.sources.get(f"judge.{name}") for name in ("template", "path"))
    return replace(context.judge, template=template[0] if template else None, path=path[0] if path else None)


def _alpaca_eval(generations: Path, judge: Judge, context: Context) -> Judged:
    prompts = read_alpaca_prompts(_source(context, "alpaca_eval.prompts"))
    references = {prompt.prompt_id: prompt.reference for prompt in prompts}
    answers = read_conversations(generations)
    comparisons = [
        Comparison(identity, turns[0]["instruction"], references[identity], turns[0]["response"])
        for identity, turns in answers.items()
    ]
    return compare(
        comparisons,
        judge,
        context.cache / VERDICT_CACHE,
        context.events.progress,
        hardware=context.hardware,
        **_paying(context),
    )


def _mt_bench(generations: Path, judge: Judge, context: Context) -> Judged:
    references = _references(context)
    gradings = []
    for identity, turns in read_conversations(generations).items():
        known = references.get(identity, ())
        for turn in range(1, len(turns) + 1):
            shown = turns[:turn]
            gradings.append(
                Grading(
                    identity,
                    turn,
                    shown[0]["category"],
                    tuple(row["instruction"] for row in shown),
                    tuple(row["response"] for row in shown),
                    known[:turn],
                )
            )
    prompts = context.sources.get("mt_bench.judge_prompts")
    return grade(
        gradings,
        judge,
        context.cache / VERDICT_CACHE,
        context.events.progress,
        hardware=context.hardware,
        prompts=Path(prompts[0]) if prompts else None,
        **_paying(context),
    )


def _references(context: Context) -> dict[str, tuple[str, ...]]:
    """Return prompt id -> reference answers by turn, of the questions that have them."""
    place = context.sources.get("mt_bench.references")
    if not place:
        return {}
    return read_turns_references(Path(place[0]), read_turns_questions(_source(context, "mt_bench.questions")))


def _paying(context: Context) -> dict[str, Any]:
    """Return what the run's judgings share: USD spent so far, and where to write down what follows."""
    return {"spent": context.ledger.usd, "on_spent": context.ledger.add} if context.ledger else {}


def _source(context: Context, name: str) -> Path:
    return Path(context.sources[name][0])
