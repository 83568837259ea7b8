"""Answers of a simulated writer to prompts of the simulated world, whose true quality is known."""

from __future__ import annotations

from typing import Any

import polars as pl

from notus_exp.config.data_settings import Simulated
from notus_exp.errors import UserError
from notus_exp.feedback.simulated.answers import answer
from notus_exp.feedback.simulated.draws import MADE, WORLD, Draws
from notus_exp.feedback.simulated.prompts import first_kind, make_prompt
from notus_exp.stages.settings import from_json


def simulated_answers(prompts: pl.DataFrame, world: dict[str, Any], skill: float, seed: int) -> list[dict[str, Any]]:
    """Return what a writer of a skill answers: an answer depends on the prompt's number, the seed and the skill alone.

    Args:
        prompts: Columns prompt_id and row, the number of the prompt in its world.
        world: Settings of the world, which makes the prompts anew with their topic and constraints.
        skill: Probability of getting each single thing right, in [0, 1].
        seed: The writer's own.

    Returns:
        `response` and `quality` (the mean of the four true qualities) of each.

    Raises:
        UserError: A prompt is none of that world.
    """
    spec = from_json(Simulated, world)
    found = []
    for prompt_id, index in prompts.select("prompt_id", "row").iter_rows():
        prompt = make_prompt(
            Draws(WORLD, 0, index, spec.seed),
            first_kind(spec.seed, WORLD, index),
            spec.min_constraints,
            spec.max_constraints,
        )
        if prompt.prompt_id != prompt_id:
            raise UserError(
                f"prompt {prompt_id} is none of the simulated world, whose prompts alone a simulated writer knows",
                "use 'data.prompts={data: simulated}', or other writers",
            )
        written = answer(prompt, skill, Draws(MADE, 0, index, seed), least=spec.statements)
        found.append({"response": written.response, "quality": sum(written.qualities) / len(written.qualities)})
    return found
