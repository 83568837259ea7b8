"""A run that belongs to a trial reports its validation events there, and asks whether it is to end."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import Trial, TrialState

from notus_exp.config.schema import Config
from notus_exp.config.study_settings import Search
from notus_exp.disk.events import Event
from notus_exp.errors import UserError
from notus_exp.stages.monitor import NO_MONITOR, Monitor
from notus_exp.study.search.methods import make_pruner
from notus_exp.study.search.storage import explained, open_storage
from notus_exp.study.search.storage_urls import ENVIRONMENT, shown, storage_url


class TrialMonitor:
    """Reports one metric of the event stream to a trial.

    Optuna's steps are the evaluations during the training, counted from 1: trials whose batches differ are compared at
    the same share of their training. A database that is away delays a report, and ends nothing.

    Args:
        trial: The trial, with the study that has the pruner.
        search: Which metric is watched, and in which direction it and the objective are better.
    """

    def __init__(self, trial: Trial, search: Search) -> None:
        self._trial = trial
        self._stage, _, self._metric = search.prune_on.partition("/")
        (direction,) = search.objectives.values()
        # Optuna's pruners compare reports in the objective's direction.
        self._sign = 1.0 if search.prune_direction == direction else -1.0
        self._name = search.prune_on
        self._steps: set[int] = set()
        self._waiting: deque[tuple[int, int, float]] = deque()
        self._reason: str | None = None
        self._closed = False

    def take(self, event: Event) -> None:
        """Queue an event of the watched metric; one that is replayed counts once."""
        if event.stage == self._stage and self._metric in event.metrics and event.step not in self._steps:
            self._steps.add(event.step)
            self._waiting.append((len(self._steps), event.step, event.metrics[self._metric]))

    def stop_reason(self) -> str | None:
        """Report what is queued, and return in words why the run is to end, else None."""
        while self._waiting and self._reason is None and not self._closed:
            number, step, value = self._waiting[0]
            try:
                self._trial.report(self._sign * value, number)
                if math.isnan(value) or self._trial.should_prune():
                    self._reason = f"pruned at step {step}: {self._name} {value:.4g}"
            except StorageInternalError:
                break
            except UpdateFinishedTrialError:  # taken for dead and asked again: that trial wants this run's result
                self._closed = True
            self._waiting.popleft()
        return self._reason


def open_monitor(config: Config) -> Monitor:
    """Return what watches a trial's run: a pruner for the run with the first of the study's seeds, nothing for others.

    Raises:
        UserError: The trial is unknown, or its storage cannot be reached from here.
    """
    study, search = config.study, config.study.search
    if search.pruner == "none" or config.seed != study.seeds[0]:
        return NO_MONITOR
    folder = Path(config.output_dir).absolute() / "studies" / str(study.name)
    url = storage_url(search.storage, folder)
    with explained(url):
        storage = open_storage(url)
        try:
            loaded = optuna.load_study(
                study_name=study.name,
                storage=storage,
                sampler=RandomSampler(),
                pruner=make_pruner(search, config.dpo.evaluations),
            )
            found = {trial.number: trial for trial in loaded.get_trials(deepcopy=False)}[study.trial or 0]
        except KeyError as error:
            raise UserError(
                f"study.trial={study.trial} is no trial of '{study.name}' in {shown(url)}",
                f"study.trial is set by a search; where its storage needs a password, set {ENVIRONMENT}",
            ) from error
        if found.state is not TrialState.RUNNING:
            return NO_MONITOR
        return TrialMonitor(Trial(loaded, found._trial_id), search)
