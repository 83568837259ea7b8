"""A simulated world of feedback whose true quality is known, so that curation itself can be checked, offline.

Prompts ask for something short about an everyday topic, with constraints that a program can check; models of different
skill answer; annotators see the true qualities with noise. Prompt number i, its answers and its labels depend on the
seed and on i alone: a world of 100 prompts is the beginning of one with 64,000.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from notus_exp.config.data_settings import SIMULATED_ASPECTS, Simulated
from notus_exp.errors import UserError
from notus_exp.feedback.simulated.annotators import annotate
from notus_exp.feedback.simulated.answers import SimulatedAnswer, answer
from notus_exp.feedback.simulated.constraints import Constraint
from notus_exp.feedback.simulated.draws import UNSEEN, WORLD, Draws
from notus_exp.feedback.simulated.prompts import Prompt, first_kind, make_prompt

SOURCE = "simulated"
_FEWEST, _MOST = 1, 2
"""Constraints in a prompt for evaluation, as in the world's default."""
_ATTEMPTS = 1000


class ConstraintPrompt(NamedTuple):
    """A prompt for evaluation, with the constraints that its answer is checked against."""

    prompt_id: str
    instruction: str
    constraints: list[Constraint]


class World(NamedTuple):
    """What is true, before any annotator sees it.

    Attributes:
        prompts: n prompts.
        models: k names for each prompt, in the order of its answers.
        answers: k answers for each prompt.
    """

    prompts: list[Prompt]
    models: list[list[str]]
    answers: list[list[SimulatedAnswer]]

    def qualities(self) -> np.ndarray:
        """Return the true qualities, shape (n, k, 4), in the order of `SIMULATED_ASPECTS`."""
        return np.array([[one.qualities for one in answers] for answers in self.answers])


def simulate(spec: Simulated) -> pl.DataFrame:
    """Return the completions table of a simulated world (feedback/table.py), with `latent_quality`.

    `latent_quality` is the mean of the four true qualities, whichever aspects are rated.
    """
    world = make_world(spec)
    qualities = world.qualities()
    labels = annotate(qualities, spec)
    k = qualities.shape[1]
    number = np.arange(spec.prompts)
    answers = [one.response for answers in world.answers for one in answers]
    ratings = {
        f"rating_{aspect}": pl.Series(labels.ratings[:, :, SIMULATED_ASPECTS.index(aspect)].ravel(), nan_to_null=True)
        for aspect in spec.aspects
    }
    return pl.DataFrame(
        {
            "prompt_id": [prompt.prompt_id for prompt in world.prompts for _ in range(k)],
            "row": pl.Series(number.repeat(k), dtype=pl.Int64),
            "source": pl.repeat(SOURCE, spec.prompts * k, eager=True),
            "instruction": [prompt.instruction for prompt in world.prompts for _ in range(k)],
            "completion": pl.Series(np.tile(np.arange(k), spec.prompts), dtype=pl.Int64),
            "model": [model for models in world.models for model in models],
            "principle": pl.repeat("", spec.prompts * k, eager=True),
            "system_prompt": pl.repeat("", spec.prompts * k, eager=True),
            "response": answers,
            **ratings,
            "overall_score": pl.Series(labels.overall.ravel(), nan_to_null=True),
            "critique": labels.critiques,
            "latent_quality": qualities.mean(axis=2).ravel(),
        }
    )


def make_world(spec: Simulated) -> World:
    """Make the prompts and the answers; each prompt's models come in an order of their own."""
    skills = sorted(spec.skills.items())  # by name: the order in which they are configured must not matter
    world = World([], [], [])
    for index in range(spec.prompts):
        draws = Draws(WORLD, 0, index, spec.seed)
        prompt = make_prompt(draws, first_kind(spec.seed, WORLD, index), spec.min_constraints, spec.max_constraints)
        answers: list[SimulatedAnswer] = []
        order = draws.shuffled(skills)
        for _, skill in order:
            answers.append(
                answer(prompt, skill, draws, {earlier.response for earlier in answers}, least=spec.statements)
            )
        world.prompts.append(prompt)
        world.models.append([model for model, _ in order])
        world.answers.append(answers)
    return world


def constraint_prompts(number: int, seed: int, exclude: Collection[str]) -> list[ConstraintPrompt]:
    """Return prompts that a policy has not seen, each with one or two constraints and every kind equally often first.

    Args:
        number: How many prompts.
        seed: Makes the prompts; a world of the same seed has other prompts.
        exclude: Ids that must not occur, such as those of the training data.

    Raises:
        UserError: There are not as many different prompts outside `exclude`.
    """
    taken = set(exclude)
    found = []
    for index in range(number):
        prompt = next((one for one in _candidates(seed, index) if one.prompt_id not in taken), None)
        if prompt is None:
            raise UserError(
                f"only {index} of {number} unseen constraint prompts could be made",
                "lower evaluation.verifiable.prompts",
            )
        taken.add(prompt.prompt_id)
        found.append(ConstraintPrompt(prompt.prompt_id, prompt.instruction, list(prompt.constraints)))
    return found


def _candidates(seed: int, index: int) -> Iterator[Prompt]:
    kind = first_kind(seed, UNSEEN, index)
    return (make_prompt(Draws(UNSEEN, attempt, index, seed), kind, _FEWEST, _MOST) for attempt in range(_ATTEMPTS))
