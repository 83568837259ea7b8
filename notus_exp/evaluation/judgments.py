"""Stage `judgments`: a judge's verdicts on one side's answers to one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.judge_settings import Judge
from notus_exp.disk.files import GENERATIONS, JUDGMENTS
from notus_exp.evaluation.catalogue import entrance
from notus_exp.judging.verdicts import VERDICTS_SCHEMA
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
    assert context.judge is not None, "the pipeline gives every worker the judge"
    judge = located(context.judge, context.sources)
    judged = entrance(settings.evaluation).judge(inputs["generations"] / GENERATIONS, judge, context)
    pl.DataFrame(judged.verdicts, schema=VERDICTS_SCHEMA, orient="row").write_parquet(out / JUDGMENTS)
    return judged.facts


def located(judge: Judge, sources: Mapping[str, list[str]]) -> Judge:
    """Return a judge with the local paths of its files.

    Args:
        judge: As configured.
        sources: Local files by setting, such as `judge.template`.
    """
    files: dict[str, Any] = {
        key.removeprefix("judge."): paths[0] for key, paths in sources.items() if key.startswith("judge.")
    }
    return replace(judge, **files)
