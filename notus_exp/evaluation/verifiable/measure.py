"""The evaluation `verifiable`: what is asked, and what is measured of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from notus_exp.config.schema import EvaluationSplit
from notus_exp.disk.files import BY_PROMPT, COMPLETIONS, DIVERGENCE, GENERATIONS
from notus_exp.evaluation.kit.entrance import BASE, Locate, Part
from notus_exp.evaluation.verifiable import checked as measured
from notus_exp.feedback.simulated import constraint_prompts, constraints
from notus_exp.feedback.simulated.draws import VALIDATION_SEED
from notus_exp.generation.conversation import Question
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings, GenerationsSettings

KEPT_APART = 4096
"""As many test prompts at least are never asked on validation, so that tuning may ask fewer prompts than the test."""


def questions(
    settings: GenerationsSettings, inputs: dict[str, Path], sources: Mapping[str, list[str]]
) -> list[Question]:
    """Make constraint prompts that are in no feedback and, on validation, not among those that the test asks.

    Raises:
        UserError: There are not enough unseen prompts.
    """
    number, seed = settings.chosen["prompts"], settings.seed
    feedback = pl.read_parquet(inputs["feedback"] / COMPLETIONS, columns=["prompt_id"], glob=False)
    seen = feedback["prompt_id"].unique().to_list()
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


def measure(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Measure each answer of both models; write `verifiable.parquet`, a row a prompt.

    Args:
        settings: With `verifiable`.
        inputs: `generations_verifiable`, `generations_verifiable_base` and, where it is measured, `likelihoods`.
        out: Gets the table.
        context: Not read.
    """
    assert settings.verifiable is not None
    names = ("generations_verifiable", "generations_verifiable_base")
    policy, base = (pl.read_parquet(inputs[name] / GENERATIONS, glob=False) for name in names)
    divergence = (
        pl.read_parquet(inputs["likelihoods"] / DIVERGENCE, glob=False) if settings.verifiable.kl_prompts else None
    )
    answers = measured.pair(measured.measure(policy, divergence), measured.measure(base))
    answers.write_parquet(out / BY_PROMPT.format("verifiable"))
    shown = measured.samples(policy, base)
    return Part(measured.estimates(answers), measured.left_out(answers), shown, measured.notes(answers))


def by_prompt(place: Locate) -> pl.DataFrame:
    """Return the measures of each prompt; tokens of tables from before null stood for unknown ones become null."""
    answers = pl.read_parquet(place("evaluation", BY_PROMPT.format("verifiable")), glob=False)
    for prefix in ("", BASE):
        tokens, characters = f"{prefix}tokens", f"{prefix}characters"
        if {tokens, characters} <= {*answers.columns}:
            known = (pl.col(tokens) > 0) | (pl.col(characters) == 0)
            answers = answers.with_columns(pl.when(known).then(pl.col(tokens)))
    numbers = [name for name, kind in answers.schema.items() if kind == pl.Boolean or kind.is_numeric()]
    return answers.select("prompt_id", *numbers)


def check_files(files: Mapping[str, Path]) -> None:
    """Check nothing: the prompts are made, not read."""
