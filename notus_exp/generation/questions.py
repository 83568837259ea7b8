"""What a model is asked: the prompts of each generating evaluation, in one form. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from notus_exp.config.schema import EvaluationSplit
from notus_exp.disk import files
from notus_exp.disk.hashing import prompt_id, uniform
from notus_exp.evaluation.ifeval.checking import read_prompts
from notus_exp.evaluation.question_files import read_alpaca_prompts, read_turns_questions
from notus_exp.feedback.simulated import constraint_prompts, constraints
from notus_exp.generation.conversation import Question
from notus_exp.stages.settings import GenerationsSettings

KEPT_APART = 4096
"""As many test prompts at least are never asked on validation, so that tuning may ask fewer prompts than the test."""
VALIDATION_SEED = 2**32
"""Added to the seed that makes validation prompts: far from any seed that a user gives."""


def read_questions(
    settings: GenerationsSettings, inputs: dict[str, Path], sources: dict[str, list[str]]
) -> list[Question]:
    """Return the questions of an evaluation, in a fixed order.

    Args:
        settings: Which evaluation, and how its questions are chosen.
        inputs: `feedback`, whose prompts `verifiable` does not ask; not needed by the others.
        sources: Local files by setting, such as `ifeval.prompts`.

    Raises:
        UserError: A file is malformed, or there are not enough unseen constraint prompts.
    """
    readers: dict[str, Callable[[], list[Question]]] = {
        "verifiable": lambda: _verifiable(settings, inputs["feedback"]),
        "alpaca_eval": lambda: _alpaca_eval(settings, Path(sources["alpaca_eval.prompts"][0])),
        "mt_bench": lambda: _mt_bench(settings, Path(sources["mt_bench.questions"][0])),
        "ifeval": lambda: _ifeval(settings, Path(sources["ifeval.prompts"][0])),
    }
    return _at_most(readers[settings.evaluation](), settings.chosen.get("max_prompts"), settings.evaluation)


def _at_most(found: list[Question], most: int | None, salt: str) -> list[Question]:
    """Return all questions, or so many of them by a hash of the prompt id, in the order that they had."""
    if most is None or most >= len(found):
        return found
    draws = uniform((question.prompt_id for question in found), 0, salt)
    kept = set(draws.argsort(kind="stable")[:most].tolist())
    return [question for place, question in enumerate(found) if place in kept]


def _verifiable(settings: GenerationsSettings, feedback: Path) -> list[Question]:
    """Make constraint prompts that are in no feedback and, on validation, not among those that the test asks."""
    number, seed = settings.chosen["prompts"], settings.seed
    seen = pl.read_parquet(feedback / files.COMPLETIONS, columns=["prompt_id"])["prompt_id"].unique().to_list()
    if settings.chosen["split"] == EvaluationSplit.validation.name:
        # Made one after the other: a test that asks fewer prompts asks the first of these.
        seen += [prompt.prompt_id for prompt in constraint_prompts(max(number, KEPT_APART), seed, seen)]
        seed += VALIDATION_SEED
    return [
        Question(
            prompt.prompt_id,
            (prompt.instruction,),
            settings.temperature,
            constraints=constraints.to_json(prompt.constraints),
        )
        for prompt in constraint_prompts(number, seed, seen)
    ]


def _alpaca_eval(settings: GenerationsSettings, path: Path) -> list[Question]:
    return [
        Question(prompt.prompt_id, (prompt.instruction,), settings.temperature, prompt.dataset)
        for prompt in read_alpaca_prompts(path)
    ]


def _ifeval(settings: GenerationsSettings, path: Path) -> list[Question]:
    excluded = settings.chosen["exclude"]
    kept = [prompt for prompt in read_prompts(path) if prompt.key not in excluded]
    return [Question(prompt_id(prompt.text), (prompt.text,), settings.temperature) for prompt in kept]


def _mt_bench(settings: GenerationsSettings, path: Path) -> list[Question]:
    return [
        Question(one.prompt_id, one.turns, settings.temperatures.get(one.category, settings.temperature), one.category)
        for one in read_turns_questions(path)
    ]
