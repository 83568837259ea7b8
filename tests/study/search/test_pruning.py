"""A run reports its validation events to its trial and is told to end where others do better."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import Trial

from notus_exp.disk.events import Event
from notus_exp.errors import UserError
from notus_exp.stages.monitor import NO_MONITOR
from notus_exp.study.search.methods import make_pruner
from notus_exp.study.search.pruning import TrialMonitor, open_monitor
from support.configs import composed
from support.searches import ACCURACY, FakeJobs, good, loaded, search, study_of

WATCHED = "validation/accuracy"


def monitored(others: list[list[float]], *, prune: str = "maximize", objective: str = "maximize") -> Any:
    """A monitor beside finished trials with these curves, as the watched metric has them, and its Optuna study."""
    settings = study_of(Path("x"), pruner="median", prune_direction=prune, objectives={ACCURACY: objective}).search
    sign = 1 if prune == objective else -1
    study = optuna.create_study(direction=objective, pruner=make_pruner(settings, 4))
    for curve in others:
        trial = study.ask()
        for number, value in enumerate(curve, 1):
            trial.report(sign * value, number)
        study.tell(trial, 0.5)
    return TrialMonitor(study.ask(), settings), study


def event(step: int, value: float, name: str = WATCHED, stage: str = "policy") -> Event:
    return Event(0.0, stage, step, {name: value})


def test_a_trial_below_the_median_is_pruned_with_step_metric_and_value() -> None:
    monitor, _ = monitored([[0.6, 0.7]] * 5)
    assert monitor.stop_reason() is None
    monitor.take(event(20, 0.61))
    assert monitor.stop_reason() is None
    monitor.take(event(40, 0.514))
    monitor.take(event(60, 0.9))
    reason = "pruned at step 40: policy/validation/accuracy 0.514"
    assert monitor.stop_reason() == reason
    assert monitor.stop_reason() == reason


@pytest.mark.parametrize("objective", ["maximize", "minimize"])
@pytest.mark.parametrize("prune", ["maximize", "minimize"])
def test_the_worse_side_is_pruned_whatever_the_two_directions_are(prune: str, objective: str) -> None:
    for value, pruned in [(0.2, prune == "maximize"), (0.9, prune == "minimize")]:
        monitor, _ = monitored([[0.5]] * 5, prune=prune, objective=objective)
        monitor.take(event(20, value))
        assert (monitor.stop_reason() is not None) is pruned


def test_each_step_is_reported_once_and_other_events_never() -> None:
    monitor, study = monitored([])
    for one in [
        event(20, 0.5),
        event(20, 0.4),  # replayed after a resume
        event(25, 0.1, "train/accuracy"),
        event(30, 0.1, stage="likelihoods"),
        event(40, 0.6),
    ]:
        monitor.take(one)
        monitor.stop_reason()
    assert study.trials[-1].intermediate_values == {1: 0.5, 2: 0.6}


def test_a_database_that_is_away_delays_a_report_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, _ = monitored([[0.6]] * 5)
    monitor.take(event(20, 0.1))
    with monkeypatch.context() as away:

        def fail(*args: Any, **named: Any) -> None:
            raise StorageInternalError

        away.setattr(Trial, "report", fail)
        assert monitor.stop_reason() is None
    assert monitor.stop_reason() is not None


def test_a_trial_that_was_ended_elsewhere_ends_no_run() -> None:
    monitor, study = monitored([[0.6]] * 5)
    study.tell(5, state=optuna.trial.TrialState.FAIL)
    monitor.take(event(20, 0.1))
    assert monitor.stop_reason() is None
    monitor.take(event(40, 0.1))
    assert monitor.stop_reason() is None


def test_a_nan_is_pruned() -> None:
    monitor, _ = monitored([[0.6]] * 5)
    monitor.take(event(20, float("nan")))
    assert monitor.stop_reason() is not None


# ------------------------------------------------------------------------------------------------- opened in a job
def config_of(folder: Path, number: int, *, seed: int = 0, pruner: str = "median") -> Any:
    study = dataclasses.replace(study_of(folder, seeds=[0, 1], pruner=pruner), trial=number)
    config = composed(f"seed={seed}", f"output_dir={folder.parent.parent}", "dpo.evaluations=4")
    return dataclasses.replace(config, study=study)


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_a_job_finds_its_trial_reports_to_it_and_is_ended(tmp_path: Path, pruner: str) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    ended: list[str | None] = []

    def score(values: Any) -> Any:
        number = int(values["study.trial"])
        monitor = open_monitor(config_of(folder, number, pruner=pruner))
        for step, value in [(20, 0.9 - number / 20), (40, 0.95 - number / 20)]:
            monitor.take(event(step, value))
        ended.append(monitor.stop_reason())
        return good(values)

    search(folder, FakeJobs(folder, score), trials=8, pruner=pruner)
    assert ended[0] is None, "nothing to compare with"
    reasons = [reason for reason in ended if reason is not None]  # Hyperband has a bracket that decides later
    assert reasons
    assert all(reason.startswith("pruned at step 20: policy/validation/accuracy 0.") for reason in reasons)
    assert loaded(folder).trials[0].intermediate_values == {1: 0.9, 2: 0.95}


def test_runs_of_other_seeds_and_without_a_pruner_are_not_watched(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    assert open_monitor(config_of(folder, 0, seed=1)) is NO_MONITOR
    assert open_monitor(config_of(folder, 0, pruner="none")) is NO_MONITOR


def test_a_trial_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"study\.trial=7 is no trial of 'mine'"):
        open_monitor(config_of(folder, 7))


def test_a_finished_trial_watches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    search(folder, trials=1)
    assert open_monitor(config_of(folder, 0)) is NO_MONITOR
