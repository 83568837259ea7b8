"""The report of `python -m notus_exp.power`: tables over seeds and prompts, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from notus_exp.errors import UserError
from notus_exp.inference.crossed import Components
from notus_exp.inference.power import (
    DRAWS,
    MOST_PROMPTS,
    MOST_SEEDS,
    Design,
    Power,
    detectable_effect,
    false_positives,
    power,
    prompts_needed,
    seeds_needed,
)
from notus_exp.scoring.report import Report, Table
from notus_exp.statistics import CONFIDENCE

MOST_FALSE = 0.08
"""Share of false positives above which the report warns."""


class Question(NamedTuple):
    """What is planned.

    Attributes:
        effect: Difference to be seen, in the unit of the metric; None asks only what can be seen.
        prompts: Numbers of prompts, the rows of the tables.
        seeds: Numbers of seeds, the columns.
        power: Wanted chance to see an effect.
        contrasts: Size of the family; each contrast is tested at 0.05 / contrasts (Bonferroni; Holm is never weaker).
    """

    effect: float | None
    prompts: Sequence[int]
    seeds: Sequence[int]
    power: float
    contrasts: int

    @property
    def confidence(self) -> float:
        """Level of each interval of the family."""
        return 1 - (1 - CONFIDENCE) / self.contrasts


def report(variances: Mapping[str, Components], question: Question) -> Report:
    """Answer the question for each contrast, given by its name and its variances, all known.

    Raises:
        UserError: Neither prompts nor residual of a contrast vary, so that there is nothing to test against.
    """
    for name, one in variances.items():
        if one.prompt + one.residual == 0:
            raise UserError(f"{name}: neither prompts nor residual vary", "give --prompt-sd or --residual-sd above 0")
    answers = {name: _answers(one, question) for name, one in variances.items()}
    found = Report({"question": question._asdict(), "draws": DRAWS, "contrasts": answers})
    for name, answer in answers.items():
        _describe(name, answer, question, found)
        if variances[name].residual == 0:
            found.sentences.append(
                f"{name}: all that varies within a seed counts as the prompts' own (one seed cannot tell more); as far "
                "as it is not, more seeds see more than is shown."
            )
    level = (1 - CONFIDENCE) / question.contrasts
    family = f", one of {question.contrasts} contrasts (Bonferroni)" if question.contrasts > 1 else ""
    chances = [
        value
        for answer in answers.values()
        for cell in answer["designs"]
        for value in cell.values()
        if isinstance(value, Power)
    ]
    found.sentences.append(
        f"The crossed t interval on {DRAWS:,} drawn tables, two-sided at {level:.4g}{family}. Monte Carlo error of a "
        f"power: at most {100 * max(chance.error for chance in chances):.1f} points."
    )
    return found


def _answers(variances: Components, question: Question) -> dict[str, Any]:
    effect, confidence = question.effect, question.confidence
    designs = []
    for prompts in question.prompts:
        for seeds in question.seeds:
            design = Design(prompts, seeds, confidence)
            cell: dict[str, Any] = {
                "prompts": prompts,
                "seeds": seeds,
                "detectable_effect": detectable_effect(variances, design, question.power),
                "false_positives": false_positives(variances, design),
            }
            designs.append(cell if effect is None else {**cell, "power": power(variances, effect, design)})
    found = {"variances": variances._asdict(), "designs": designs}
    if effect is None:
        return found
    return found | {
        "prompts_needed": {
            seeds: prompts_needed(variances, effect, seeds, wanted=question.power, confidence=confidence)
            for seeds in question.seeds
            if seeds > 1 or variances.seed == 0  # else the power of one seed is partly false positives
        },
        "seeds_needed": {
            prompts: seeds_needed(variances, effect, prompts, wanted=question.power, confidence=confidence)
            for prompts in question.prompts
        },
    }


def _describe(name: str, answer: dict[str, Any], question: Question, found: Report) -> None:
    effect, percent = question.effect, f"{100 * question.power:g} % power"

    def add(title: str, key: str, shown: Callable[[Any], str]) -> None:
        columns, width = ["", *(f"{seeds} seed{'s'[: seeds != 1]}" for seeds in question.seeds)], len(question.seeds)
        cells = [shown(cell[key]) for cell in answer["designs"]]
        rows = [
            [f"{prompts:,} prompts", *cells[row * width : (row + 1) * width]]
            for row, prompts in enumerate(question.prompts)
        ]
        if key == "power":
            columns.append("seeds needed")
            for prompts, line in zip(question.prompts, rows, strict=True):
                line.append(_count(answer["seeds_needed"][prompts]))
            needed = (_count(answer["prompts_needed"].get(seeds, math.nan)) for seeds in question.seeds)
            rows.append(["prompts needed", *needed, ""])
        found.tables.append(Table(f"{name}: {title}", columns, rows))

    add(f"effect that is seen with {percent}", "detectable_effect", lambda seen: f"{seen:.3g}")
    if effect is not None:
        add(f"power to see {effect:g}, %", "power", _percent)
        found.sentences += _floors(name, answer, f"{effect:g} with {percent}")
    if any(cell["false_positives"].value > MOST_FALSE for cell in answer["designs"]):
        add("false positives, %", "false_positives", _percent)
        found.sentences.append(
            f"{name}: some designs have more than {100 * MOST_FALSE:g} % false positives, so that their power is "
            "partly chance: one seed does not cover seed variance, and two seeds hardly tell it."
        )


def _floors(name: str, answer: dict[str, Any], goal: str) -> list[str]:
    """Say where no number of prompts, or of seeds, reaches the goal."""
    sentences = []
    seeds = [str(number) for number, needed in answer["prompts_needed"].items() if needed is None]
    if seeds:
        sentences.append(
            f"{name}: with {' or '.join(seeds)} seeds no number of prompts ({MOST_PROMPTS:,} were tried) shows {goal}: "
            "the variance between seeds is a floor."
        )
    prompts = [f"{number:,}" for number, needed in answer["seeds_needed"].items() if needed is None]
    if prompts:
        sentences.append(
            f"{name}: with {' or '.join(prompts)} prompts no number of seeds ({MOST_SEEDS:,} were tried) shows {goal}: "
            "the variance between prompts is a floor."
        )
    return sentences


def _percent(chance: Power) -> str:
    return f"{100 * chance.value:.1f}"


def _count(needed: float | None) -> str:
    return "none suffices" if needed is None else "-" if math.isnan(needed) else f"{needed:,}"
