"""The report of `python -m notus_exp.power`: tables over seeds and prompts, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from notus_exp.errors import UserError
from notus_exp.inference.crossed import Components
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.power import (
    DRAWS,
    LEAST_SEEDS,
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
from notus_exp.reporting.pilot import SeedBound
from notus_exp.reporting.tables import Report, Table

MOST_FALSE = 1.6
"""False positives, in units of the level they are tested at (8 % at 0.05), above which the report warns."""
FEW_DIFFERING = 15
"""Prompts that differ below which power is told too high: by 4 points and more in the simulations of rare yes and no in
docs/results/calibration.md, where normal differences are no likeness any more."""


class Source(NamedTuple):
    """The variances of a contrast, all known, and what a pilot tells beside them.

    Attributes:
        variances: As planned with.
        bound: How large the seed variance may be; None where it was given.
        differing: Share of the pilot's prompts on which its sides are not the same in every seed; None where not known.
        largest: The largest difference that the metric can have; None where there is none, or none is known.
        prompts: Of the pilot; None without one.
    """

    variances: Components
    bound: SeedBound | None = None
    differing: float | None = None
    largest: float | None = None
    prompts: int | None = None

    @property
    def worst(self) -> Components | None:
        """The variances with the seeds' at its upper bound; None where that variance was given, not measured."""
        return None if self.bound is None else self.variances._replace(seed=self.bound.variance)


class PowerQuestion(NamedTuple):
    """What is planned.

    Attributes:
        effect: Difference to be seen, in the unit of the metric; None asks only what can be seen.
        prompts: Numbers of prompts, the rows of the tables.
        seeds: Numbers of seeds, the columns.
        power: Wanted chance to see an effect.
        contrasts: Size of the family; each contrast is tested at 0.05 / contrasts (Bonferroni, the worst case of Holm).
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

    @property
    def most_false(self) -> float:
        """Share of false positives of a contrast above which the report warns."""
        return MOST_FALSE * (1 - self.confidence)


def report(sources: Mapping[str, Source], question: PowerQuestion) -> Report:
    """Answer the question for each contrast, given by its name; a pilot's also at the upper bound of its seed variance.

    Raises:
        UserError: Neither prompts nor residual of a contrast vary, so that there is nothing to test against, or the
            effect is one that its metric cannot have.
    """
    for name, source in sources.items():
        if source.variances.prompt + source.variances.residual == 0:
            raise UserError(f"{name}: neither prompts nor residual vary", "give --prompt-sd or --residual-sd above 0")
        if question.effect is not None and source.largest is not None and question.effect > source.largest:
            raise UserError(
                f"{name}: --effect={question.effect:g} is more than this metric can differ by, {source.largest:g}",
                "give an effect in the unit of the metric",
            )
    answers = {name: _both(source, question) for name, source in sources.items()}
    found = Report({"question": question._asdict(), "draws": DRAWS, "least_seeds": LEAST_SEEDS, "contrasts": answers})
    for name, answer in answers.items():
        _describe(name, answer, question, found)
        bound = sources[name].bound
        if bound is not None:
            _describe(f"{name}, seed deviation at its upper bound", answer["seed_bound"], question, found)
            found.sentences.append(_uncertainty(name, sources[name].variances, bound))
        found.sentences += _beyond(name, answer, sources[name].largest)
        told = few_differ(sources[name].differing, question.prompts, sources[name].prompts)
        found.sentences += [f"{name}: {sentence}." for sentence in told]
        if sources[name].variances.residual == 0:
            found.sentences.append(
                f"{name}: all that varies within a seed counts as the prompts' own (one seed cannot tell more); as far "
                "as it is not, more seeds see more than is shown."
            )
    if question.effect is not None:
        found.sentences.append(
            f"Seeds needed are looked for from {LEAST_SEEDS} up, though fewer may show the power too: two seeds "
            "hardly tell the variance between seeds, and one not at all."
        )
    found.sentences.append(_method(answers, question))
    return found


def _method(answers: Mapping[str, dict[str, Any]], question: PowerQuestion) -> str:
    """Say which test it is, at which level, and how exact the figures are."""
    level = (1 - CONFIDENCE) / question.contrasts
    family = ""
    if question.contrasts > 1:
        family = (
            f", as one of a family of {question.contrasts} contrasts (Bonferroni: 0.05 / {question.contrasts}, the "
            "worst case of Holm; of a pilot, its primary contrasts are counted unless --contrasts is given)"
        )
    chances = [
        value
        for answer in answers.values()
        for cell in [*answer["designs"], *answer.get("seed_bound", {"designs": []})["designs"]]
        for value in cell.values()
        if isinstance(value, Power)
    ]
    return (
        f"The crossed interval on {DRAWS:,} drawn tables, two-sided at {level:.4g}{family}. Monte Carlo error of a "
        f"power: at most {100 * max(chance.error for chance in chances):.1f} points."
    )


def _both(source: Source, question: PowerQuestion) -> dict[str, Any]:
    """Return the answers at the measured variances and, under seed_bound, those at the upper bound of the seeds'.

    One seed is no answer where at the bound it has more false positives than the report lets pass.
    """
    answer, worst = _answers(source.variances, question, source.largest), source.worst
    if worst is None:
        return answer
    prompts = answer.get("prompts_needed", {}).get(1)
    if prompts is not None:
        chance = false_positives(worst, Design(prompts, 1, question.confidence))
        if chance.value > question.most_false:
            del answer["prompts_needed"][1]
    return answer | {"seed_bound": _answers(worst, question, source.largest)}


def _answers(variances: Components, question: PowerQuestion, largest: float | None) -> dict[str, Any]:
    effect, confidence = question.effect, question.confidence
    designs = []
    for prompts in question.prompts:
        for seeds in question.seeds:
            design = Design(prompts, seeds, confidence)
            seen = detectable_effect(variances, design, question.power)
            cell: dict[str, Any] = {
                "prompts": prompts,
                "seeds": seeds,
                "detectable_effect": None if largest is not None and seen > largest else seen,
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


def _describe(name: str, answer: dict[str, Any], question: PowerQuestion, found: Report) -> None:
    effect, percent = question.effect, f"{100 * question.power:g} % power"

    def add(title: str, key: str, shown: Callable[[Any], str]) -> None:
        columns, width = ["", *(f"{seeds} seed{'s'[: seeds != 1]}" for seeds in question.seeds)], len(question.seeds)
        cells = [shown(cell[key]) for cell in answer["designs"]]
        rows = [
            [f"{prompts:,} prompts", *cells[row * width : (row + 1) * width]]
            for row, prompts in enumerate(question.prompts)
        ]
        if key == "power":
            columns.append(f"seeds needed, from {LEAST_SEEDS} up")
            for prompts, line in zip(question.prompts, rows, strict=True):
                line.append(_count(answer["seeds_needed"][prompts]))
            needed = (_count(answer["prompts_needed"].get(seeds, math.nan)) for seeds in question.seeds)
            rows.append(["prompts needed", *needed, ""])
        found.tables.append(Table(f"{name}: {title}", columns, rows))

    add(f"effect that is seen with {percent}", "detectable_effect", _effect)
    if effect is not None:
        add(f"power to see {effect:g}, %", "power", _percent)
        found.sentences += _floors(name, answer, f"{effect:g} with {percent}")
    if any(cell["false_positives"].value > question.most_false for cell in answer["designs"]):
        add("false positives, %", "false_positives", _percent)
        found.sentences.append(
            f"{name}: some designs have more than {100 * question.most_false:.3g} % false positives, so that "
            "their power is partly chance: one seed does not cover seed variance, and two seeds hardly tell it."
        )


def _uncertainty(name: str, variances: Components, bound: SeedBound) -> str:
    return (
        f"{name}: the seed deviation comes from the pilot's {bound.seeds} seeds: {bound.words(variances.seed)}"
        f" (chi-square of MS_seed, degrees of freedom: {bound.seeds - 1}). "
        "What lies between the two tables is all in keeping with the pilot; plan with the second, or run more "
        "pilot seeds, which bring it down."
    )


def few_differ(
    share: float | None, planned: Sequence[int], measured: int | None = None, *, whose: str = "the pilot's prompts"
) -> list[str]:
    """Say where too few prompts differ for a power to be true: among those planned, or among those it is planned from.

    Args:
        share: Of the measured prompts on which the two are not the same in every seed; None where it is not known.
        planned: Numbers of prompts that a power was told for.
        measured: Prompts that the spread was measured on; None where that is not known.
        whose: What these are called.

    Returns:
        Sentences without a full stop.
    """
    if share is None:
        return []
    found, few = [], [f"{prompts:,}" for prompts in planned if share * prompts < FEW_DIFFERING]
    if few:
        percent = f"{float(f'{100 * share:.2g}'):g} %"  # two digits, and 100 as it is
        found.append(
            f"the two differ on {percent} of {whose}, so with {' or '.join(few)} prompts fewer than"
            f" {FEW_DIFFERING} would: what is shown for these is too hopeful, by up to 15 points of power in"
            " simulations"
        )
    if measured is not None and (differ := round(share * measured)) < FEW_DIFFERING:
        found.append(
            f"the spread that is planned with was measured on {measured:,} prompts of which {differ} differ: it is a"
            " rough guess, and so is what it would take"
        )
    return found


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


def _beyond(name: str, answer: Mapping[str, Any], largest: float | None) -> list[str]:
    """Say of designs that see no effect which the metric can have what that means."""
    cells = [*answer["designs"], *answer.get("seed_bound", {"designs": []})["designs"]]
    if all(cell["detectable_effect"] is not None for cell in cells):
        return []
    return [f"{name}: where none is shown, no difference that the metric can have (at most {largest:g}) would be seen."]


def _effect(seen: float | None) -> str:
    return "none" if seen is None else f"{seen:.3g}" if seen else "chance"


def _percent(chance: Power) -> str:
    return f"{100 * chance.value:.1f}"


def _count(needed: float | None) -> str:
    return "none suffices" if needed is None else "-" if math.isnan(needed) else f"{needed:,}"
