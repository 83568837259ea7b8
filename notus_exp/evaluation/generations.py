"""Stage `generations`: a model's answers to the prompts of one evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from notus_exp.disk.hashing import uniform
from notus_exp.evaluation.catalogue import entrance
from notus_exp.generation.answering import answer
from notus_exp.generation.conversation import Question
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings


def run(settings: GenerationsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Answer an evaluation's prompts and write `generations.parquet`, in the prompts' order.

    Args:
        settings: Which prompts, how long and how hot the answers are, and the precision.
        inputs: Artifacts `base_model`; for a policy's answers `policy`; `feedback` where the evaluation makes prompts
            that are not in it.
        out: Folder to write into, perhaps with the work of a killed attempt.
        context: Device, batch size, events; the endpoint where one answers.

    Returns:
        Facts of `generation.answering.answer`.

    Raises:
        UserError: A file is malformed, there are not enough unseen prompts, or as `answer` says.
    """
    return answer(read_questions(settings, inputs, context.sources), settings, inputs, out, context)


def read_questions(
    settings: GenerationsSettings, inputs: dict[str, Path], sources: dict[str, list[str]]
) -> list[Question]:
    """Return the questions of an evaluation, in a fixed order, at most as many as it wants.

    Args:
        settings: Which evaluation, and how its questions are chosen.
        inputs: `feedback`, where the evaluation needs it.
        sources: Local files by setting, such as `ifeval.prompts`.

    Raises:
        UserError: A file is malformed, or there are not enough unseen constraint prompts.
    """
    found = entrance(settings.evaluation).questions(settings, inputs, sources)
    return _at_most(found, settings.chosen.get("max_prompts"), settings.evaluation)


def _at_most(found: list[Question], most: int | None, salt: str) -> list[Question]:
    """Return all questions, or so many of them by a hash of the prompt id, in the order that they had."""
    if most is None or most >= len(found):
        return found
    draws = uniform((question.prompt_id for question in found), 0, salt)
    kept = set(draws.argsort(kind="stable")[:most].tolist())
    return [question for place, question in enumerate(found) if place in kept]
