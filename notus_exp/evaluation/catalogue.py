"""The catalogue of evaluations: what each is, and where its heavy half lies. Imports nothing heavy."""

from __future__ import annotations

import importlib
from typing import cast

from notus_exp.config.evaluation_settings import Evaluation
from notus_exp.evaluation.alpaca_eval.spec import SPEC as ALPACA_EVAL
from notus_exp.evaluation.ifeval.spec import SPEC as IFEVAL
from notus_exp.evaluation.kit.description import EvaluationSpec
from notus_exp.evaluation.kit.entrance import Entrance
from notus_exp.evaluation.lm_eval.spec import SPEC as LM_EVAL
from notus_exp.evaluation.mt_bench.spec import SPEC as MT_BENCH
from notus_exp.evaluation.preferences.spec import SPEC as PREFERENCES
from notus_exp.evaluation.verifiable.spec import SPEC as VERIFIABLE

CATALOGUE: dict[str, EvaluationSpec] = {
    "verifiable": VERIFIABLE,
    "preferences": PREFERENCES,
    "alpaca_eval": ALPACA_EVAL,
    "mt_bench": MT_BENCH,
    "ifeval": IFEVAL,
    "lm_eval": LM_EVAL,
}
"""Every evaluation by its name, in the order in which they are measured."""


def chosen(evaluation: Evaluation) -> list[EvaluationSpec]:
    """Return the chosen evaluations, in the catalogue's order."""
    return [spec for name, spec in CATALOGUE.items() if getattr(evaluation, name) is not None]


def answering(evaluation: Evaluation) -> list[EvaluationSpec]:
    """Return the chosen evaluations whose prompts base and policy answer."""
    return [spec for spec in chosen(evaluation) if spec.answers]


def judged(evaluation: Evaluation) -> list[EvaluationSpec]:
    """Return the chosen evaluations whose answers a judge compares or rates."""
    return [spec for spec in chosen(evaluation) if spec.judged]


def unasked(evaluation: Evaluation) -> dict[str, list[str]]:
    """Return group -> evaluations that would ask it, of the groups `judge` and `generation` that no chosen one asks."""
    askers = {
        "judge": [spec.name for spec in CATALOGUE.values() if spec.judged],
        "generation": [spec.name for spec in CATALOGUE.values() if spec.answers],
    }
    names = {spec.name for spec in chosen(evaluation)}
    return {group: asking for group, asking in askers.items() if names.isdisjoint(asking)}


def held_out() -> list[str]:
    """Return the names of the evaluations that have validation prompts beside the test prompts."""
    return [name for name, spec in CATALOGUE.items() if spec.held_out]


def of_data(metric: str) -> bool:
    """Tell whether a metric is measured on prompts of the run's own data; one that no evaluation names counts as such.

    Args:
        metric: Such as `preferences/accuracy/average`.
    """
    spec = CATALOGUE.get(metric.partition("/")[0])
    return spec is None or spec.of_data


def in_reading_order() -> list[EvaluationSpec]:
    """Return all evaluations as they are shown: those that score given texts first, then those that need answers."""
    return sorted(CATALOGUE.values(), key=lambda spec: spec.answers)


def entrance(name: str) -> Entrance:
    """Return the heavy half of an evaluation: the module `measure` in the folder of its name.

    Args:
        name: A key of the catalogue; anything else is a `KeyError`, so that no config can name code.
    """
    return cast(Entrance, importlib.import_module(f"notus_exp.evaluation.{CATALOGUE[name].name}.measure"))
