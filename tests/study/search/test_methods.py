"""The samplers and pruners that a search names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from notus_exp.study.search.methods import make_pruner, make_sampler
from notus_exp.study.search.space import read_space
from support.searches import PARAMETERS, study_of


def asked(sampler: str, trials: int) -> list[optuna.trial.FrozenTrial]:
    """Trials whose best beta is 0.1, and that keep their constraint with selection=critique alone."""
    space, settings = read_space(PARAMETERS, []), study_of(Path("x"), sampler=sampler).search
    study = optuna.create_study(direction="maximize")
    for _ in range(trials):
        study.sampler = make_sampler(settings, len(study.trials))
        trial = study.ask()
        params: Any = space.suggest(trial)
        trial.set_constraint("kept", 1.0 if params["selection"] == "average" else -1.0)
        study.tell(trial, -(math.log(params["dpo.beta"] / 0.1) ** 2))
    return study.trials


def test_tpe_with_a_new_seed_each_trial_learns_objective_and_constraint() -> None:
    trials = asked("tpe", 40)
    start, later = trials[:10], trials[20:]
    assert sum(trial.value or 0 for trial in later) / 20 > sum(trial.value or 0 for trial in start) / 10
    assert sum(trial.params["selection"] == "critique" for trial in later) >= 12


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_sampler_depends_on_its_seed_and_the_number_of_trials_alone(sampler: str) -> None:
    first, second = ([trial.params for trial in asked(sampler, 6)] for _ in range(2))
    assert first == second
    assert len({params["dpo.beta"] for params in first}) == 6


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", NopPruner),
        ("median", MedianPruner),
        ("asha", SuccessiveHalvingPruner),
        ("hyperband", HyperbandPruner),
    ],
)
def test_every_pruner_of_the_config_is_optunas(name: str, kind: type) -> None:
    assert type(make_pruner(study_of(Path("x"), pruner=name).search, 4)) is kind
