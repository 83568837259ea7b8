"""Section of answers side by side: the same prompts, the base model and every arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import polars as pl

from notus_exp.contracts.comparison_file import BASE_MODEL
from notus_exp.contracts.run_file import RunFile
from notus_exp.contracts.samples_file import read_samples
from notus_exp.disk.files import BY_PROMPT, GENERATIONS, SAMPLES
from notus_exp.disk.hashing import uniform
from notus_exp.evaluation.catalogue import CATALOGUE
from notus_exp.feedback.simulated.constraints import follows, from_json
from notus_exp.reporting.texts import cut
from notus_exp.study.report.material import Material, Section

EVALUATIONS = [name for name, spec in CATALOGUE.items() if spec.answers]
"""Whose answers are shown: the first that there are, of the primary metric's evaluation if it has some."""
PROMPTS = 12
PROMPT_CHARS, RESPONSE_CHARS = 800, 1200

_COLUMNS = ["prompt_id", "turn", "instruction", "constraints", "response"]
_TITLE = "Answers side by side"

ChecksPassed = list[tuple[str, bool]]
"""Names of constraints, and whether an answer meets them."""


class AnsweredTurn(TypedDict):
    """One turn: what was asked, what was answered, and what of the prompt that follows."""

    instruction: str
    response: str
    followed: ChecksPassed


class ShownAnswer(TypedDict):
    """What a model answers to a prompt, turn by turn, cut to what a page can show."""

    model: str
    responses: list[str]
    followed: ChecksPassed


class ShownPrompt(TypedDict):
    """A prompt's turns, and each model's answers to them."""

    turns: list[str]
    answers: list[ShownAnswer]


Answers = dict[str, list[AnsweredTurn]]
"""Prompt id -> its turns."""


def answers(material: Material) -> Section:
    """Return the section of a dozen prompts, always the same ones for the same prompts, and what each model answers."""
    first = material.metric.split("/")[0]
    for name in sorted(EVALUATIONS, key=lambda one: one != first):
        seed = material.common_seed(f"generations_{name}")
        by_model = {} if seed is None else _generated(material, name, seed)
        if len(by_model) > 1:
            return Section("answers", _TITLE, _content(by_model, name, seed))
    seed = material.common_seed("evaluation")
    by_model = {} if seed is None else _sampled(material, seed)
    if by_model:
        return Section("answers", _TITLE, _content(by_model, "", seed))
    return Section("answers", _TITLE, None, "No evaluation of this study had prompts answered.")


def _generated(material: Material, evaluation: str, seed: int) -> dict[str, Answers]:
    found: dict[str, Answers] = {}
    for arm in material.arms:
        run = material.run(arm, seed)
        for model, node in ((BASE_MODEL, f"generations_{evaluation}_base"), (arm, f"generations_{evaluation}")):
            table = None if model in found else material.table(run, node, GENERATIONS, _COLUMNS)
            if table is not None:
                side = "/base" if model == BASE_MODEL else ""
                found[model] = _by_prompt(table, _checked(material, run, side) if evaluation == "ifeval" else {})
    return found


def _by_prompt(table: pl.DataFrame, checked: Mapping[str, ChecksPassed]) -> Answers:
    found: Answers = {}
    for row in table.sort("turn", maintain_order=True).iter_rows(named=True):
        followed = checked.get(row["prompt_id"]) or _followed(row["constraints"], row["response"])
        turn: AnsweredTurn = {"instruction": row["instruction"], "response": row["response"], "followed": followed}
        found.setdefault(row["prompt_id"], []).append(turn)
    return found


def _followed(constraints: str, response: str) -> ChecksPassed:
    """Return each constraint of a prompt and whether the answer meets it; nothing where it has none."""
    return [(constraint.kind, follows(constraint, response)) for constraint in from_json(constraints)]


def _checked(material: Material, run: RunFile | None, side: str) -> dict[str, ChecksPassed]:
    """Return prompt id -> IFEval's instructions and whether the answer of a side ("" or "/base") follows them."""
    table = material.table(
        run, "evaluation", BY_PROMPT.format("ifeval"), ["prompt_id", f"instructions{side}", f"strict{side}"]
    )
    rows = [] if table is None else table.drop_nulls().iter_rows()
    return {prompt: list(zip(instructions, strict_ones, strict=True)) for prompt, instructions, strict_ones in rows}


def _sampled(material: Material, seed: int) -> dict[str, Answers]:
    """Return the answers that evaluations kept as samples, where the generations are gone."""
    found: dict[str, Answers] = {}
    for arm in material.arms:
        path = material.place(material.run(arm, seed), "evaluation", SAMPLES)
        for sample in read_samples(path) if path else []:
            for model, answer in ((BASE_MODEL, sample["base"]), (arm, sample["policy"])):
                instruction, response = sample["instruction"], answer or ""
                turn: AnsweredTurn = {"instruction": instruction, "response": response, "followed": []}
                found.setdefault(model, {})[sample["prompt_id"]] = [turn]
    return found


def _content(by_model: Mapping[str, Answers], evaluation: str, seed: int | None) -> dict[str, object]:
    common = sorted(set.intersection(*(set(found) for found in by_model.values())))
    order = np.argsort(uniform(common, 0, "samples"), kind="stable")[:PROMPTS]
    prompts = [_prompt([(model, found[common[place]]) for model, found in by_model.items()]) for place in order]
    return {"evaluation": evaluation, "seed": seed, "prompts": prompts, "common": len(common)}


def _prompt(models: list[tuple[str, list[AnsweredTurn]]]) -> ShownPrompt:
    """Return one prompt: its turns, its constraints, and each model's answers with what they follow."""
    turns = models[0][1]
    return {
        "turns": [cut(turn["instruction"], PROMPT_CHARS) for turn in turns],
        "answers": [
            {
                "model": model,
                "responses": [cut(turn["response"], RESPONSE_CHARS) for turn in rows],
                "followed": rows[0]["followed"],
            }
            for model, rows in models
        ],
    }
