"""The trials of a search: asked, told and taken over from dead processes, one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from notus_exp.config.study_settings import Search
from notus_exp.disk.hashing import digest
from notus_exp.study.search.goals import Bound
from notus_exp.study.search.kept import KEPT, Kept
from notus_exp.study.search.lease import LEASE, Keeper, Watch
from notus_exp.study.search.methods import make_sampler
from notus_exp.study.search.space import Label, Space

RUNS, REASON, REPEATS, STATE, MEASURED, SEAL = "runs", "reason", "repeats", "state", "measured", "seal"
"""User attributes of a trial: seed -> run id; why it has no values; which trial's parameters it has again; what
became of it beyond Optuna's own states; its metrics; a hash of what it is and what came out."""
EXPIRED = "expired"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Asked(NamedTuple):
    """What there is to do.

    Attributes:
        trials: New ones of this process, with their parameters.
        finished: How many trials count as finished.
        elsewhere: How many trials other processes work on.
        taken: Numbers of the trials of dead processes that were found and are asked again.
    """

    trials: list[tuple[Trial, dict[str, Label]]]
    finished: int
    elsewhere: int
    taken: list[int]


class Trials:
    """The trials of one search, shared with other processes through the storage.

    Args:
        study: Optuna's.
        turn: Held while it is decided whose a trial is; see `turns`.
        search: Its settings.
        space: Its parameters.
        keeper: Renews the leases of this process.
    """

    def __init__(
        self,
        study: optuna.Study,
        turn: AbstractContextManager[object],
        search: Search,
        space: Space,
        keeper: Keeper,
    ) -> None:
        self._study, self._lock, self._search, self._space, self._keeper = study, turn, search, space, keeper
        self._watch = Watch(search.lease)
        self._own: dict[int, Trial] = {}

    def watch_anew(self) -> None:
        """Begin to watch the leases of others anew, where nobody could renew one for a time."""
        self._watch = Watch(self._search.lease)

    def plan_grid(self) -> int:
        """Put every combination of a grid that is not there yet into the queue; return how many there are in all."""
        combinations = self._space.combinations()
        with self._lock:
            known = [_given(trial) for trial in self._all()]
            for params in combinations:
                if params not in known:
                    self._study.enqueue_trial(dict(params))
        return len(combinations)

    def ask(self, most: int) -> Asked:
        """Return up to `most` new trials; over all processes never more than the search wants.

        Trials whose process is gone are told to have failed, and their parameters are asked again, here or elsewhere.
        """
        with self._lock:
            taken = [trial.number for trial in self._all(TrialState.RUNNING) if self._dead(trial)]
            taken = [number for number in taken if self._expire(number, "the process that worked on it is gone")]
            trials = self._all()
            finished = sum(counts(trial) for trial in trials)
            running = sum(trial.state is TrialState.RUNNING for trial in trials)
            room = self._search.trials - finished - running
            if self._search.sampler == "grid":
                room = min(room, sum(trial.state is TrialState.WAITING for trial in trials))
            asked = [self._ask() for _ in range(min(most, room))]
            return Asked(asked, finished, running - (len(self._own) - len(asked)), taken)

    def note_runs(self, trial: Trial, runs: Mapping[int, str]) -> bool:
        """Write down which runs a trial consists of, by seed; return False where it is no longer ours."""
        try:
            trial.set_user_attr(RUNS, {str(seed): run for seed, run in runs.items()})
        except UpdateFinishedTrialError:
            self._keeper.drop(trial)
            self._own.pop(trial.number, None)
            return False
        return True

    def keep(self, trial: Trial, kept: Kept) -> None:
        """Write down what other machines must know of a trial's runs; nothing where it is no longer ours."""
        with self._lock, suppress(UpdateFinishedTrialError):  # the lock waits for a database that is away
            trial.set_user_attr(KEPT, kept)

    def complete(self, trial: Trial, values: Mapping[str, float], bounds: Sequence[Bound]) -> bool:
        """Tell a trial's metrics; return False, as all that tell, where it was taken for dead and is no longer ours.

        Args:
            trial: One of this process.
            values: Metric -> mean over the seeds.
            bounds: The search's constraints.
        """

        def tell() -> None:
            trial.set_user_attr(MEASURED, dict(values))
            for bound in bounds:
                trial.set_constraint(f"{bound.metric} {bound.side}", bound.excess(values[bound.metric]))
            told = [values[name] for name in self._search.objectives]
            trial.set_user_attr(SEAL, _seal(trial.params, trial.user_attrs.get(RUNS, {}), dict(values), told))
            self._study.tell(trial, told)

        return self._told(trial, tell)

    def prune(self, trial: Trial, reason: str) -> bool:
        """Tell that a trial was given up because others do better."""
        return self._end(trial, TrialState.PRUNED, reason)

    def fail(self, trial: Trial, reason: str) -> bool:
        """Tell that a trial has no values."""
        return self._end(trial, TrialState.FAIL, reason)

    def release(self) -> None:
        """Give back the trials that this process has not told, so that they are asked again."""
        with self._lock:
            running = {trial.number for trial in self._all(TrialState.RUNNING)}
            for number, trial in list(self._own.items()):
                self._keeper.drop(trial)
                if number in running:
                    self._expire(number, "the search was interrupted")
            self._own.clear()

    # -------------------------------------------------------------------------------------------------- with the lock
    def _all(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _dead(self, trial: FrozenTrial) -> bool:
        return trial.number not in self._own and self._watch.is_dead(trial.number, trial.user_attrs.get(LEASE))

    def _ask(self) -> tuple[Trial, dict[str, Label]]:
        self._study.sampler = make_sampler(self._search, len(self._all()))
        trial = self._study.ask()
        self._keeper.hold(trial)
        self._own[trial.number] = trial
        return trial, self._space.suggest(trial)

    def _expire(self, number: int, reason: str) -> bool:
        """Fail a trial and queue its parameters; if this process dies in the midst of it, the next one ends it.

        Returns:
            False where somebody ended it meanwhile.
        """
        trials = {trial.number: trial for trial in self._all()}
        params = _given(trials[number])
        queued = any(trial.user_attrs.get(REPEATS) == number for trial in trials.values())
        if params and not queued:
            self._study.enqueue_trial(params, user_attrs={REPEATS: number})
        trial = Trial(self._study, trials[number]._trial_id)
        try:
            trial.set_user_attr(STATE, EXPIRED)
            trial.set_user_attr(REASON, reason)
            self._study.tell(trial, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False
        return True

    # -------------------------------------------------------------------------------------------------------- telling
    def _end(self, trial: Trial, state: TrialState, reason: str) -> bool:
        def tell() -> None:
            trial.set_user_attr(REASON, reason)
            self._study.tell(trial, state=state)

        return self._told(trial, tell)

    def _told(self, trial: Trial, tell: Callable[[], None]) -> bool:
        """Tell, with the lock, so that nobody takes the trial over meanwhile; False where it is no longer ours."""
        with self._lock:
            self._keeper.drop(trial)
            ours = trial.number in {one.number for one in self._all(TrialState.RUNNING)}
            try:
                if ours:
                    tell()
            except UpdateFinishedTrialError:  # by somebody who does not share the lock
                ours = False
            self._own.pop(trial.number, None)
        return ours


def counts(trial: FrozenTrial) -> bool:
    """Say whether a trial is one of the `study.search.trials`: finished in some way, and not expired."""
    return trial.state in ENDED and trial.user_attrs.get(STATE) != EXPIRED


def unsealed(trials: Iterable[FrozenTrial]) -> list[int]:
    """Return the numbers of complete trials that are not what they were when they were told."""
    return [
        trial.number
        for trial in trials
        if trial.state is TrialState.COMPLETE
        and SEAL in trial.user_attrs
        and trial.user_attrs[SEAL]
        != _seal(trial.params, trial.user_attrs.get(RUNS, {}), trial.user_attrs.get(MEASURED, {}), trial.values)
    ]


def _seal(params: Mapping[str, Any], runs: Any, measured: Any, values: Sequence[float]) -> str:
    return digest([dict(params), runs, measured, [float(value) for value in values]])[:32]


def _given(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's parameters, also those that it was queued with and has not asked for yet."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}
