"""What each parameter of a search matters, and how sure that is: by drawing the trials again."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from notus_exp.contracts.measured import MeasuredValue

LEAST = 3
"""Complete trials below which there is nothing to weigh: the best two are compared with all."""
FEW = 50
"""Complete trials below which the best tenth is so few that the shares are called rough."""
DRAWS = 100
"""How often the trials are drawn again."""
ENDS = (0.05, 0.95)
"""What the interval leaves out on either side: of so few trials a wider one would be made of the rarest draws."""

Shares = dict[str, float]
"""Setting -> share, which sum to 1."""


class Importances(NamedTuple):
    """Importances of the parameters.

    Attributes:
        shares: Objective -> setting -> share; without the objectives in which all trials are alike.
        intervals: Objective -> setting -> share with the ends of its interval.
        note: How they were found, or why there are none.
    """

    shares: dict[str, Shares]
    intervals: dict[str, dict[str, MeasuredValue]]
    note: str


class _Drawn(optuna.Study):
    """A study of given trials, held in memory; a trial that is given twice counts twice."""

    def __init__(self, known: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        storage = InMemoryStorage()
        named = optuna.create_study(storage=storage, directions=known.directions).study_name
        super().__init__(named, storage)
        self._drawn = list(trials)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return list(self._drawn)

    def draw(self, trials: Sequence[FrozenTrial]) -> None:
        """Put other trials in the place of those that there are."""
        self._drawn = list(trials)


def importances(
    known: optuna.Study | None, trials: Sequence[FrozenTrial], objectives: Mapping[str, str]
) -> Importances:
    """Return what each parameter matters for each objective.

    PED-ANOVA: Watanabe, Bansal and Hutter 2023, arXiv 2304.10255. The interval is the bootstrap's by percentiles, over
    trials (Efron 1979), from draws that are the same each time.

    Args:
        known: Optuna's study, None where it has not begun.
        trials: Those that were asked.
        objectives: Metric -> minimize or maximize.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    varied = {name for trial in complete for name in trial.params if _varies(name, complete)}
    if known is None or len(complete) < LEAST:
        return Importances({}, {}, f"{len(complete)} trials are complete; importances are computed from {LEAST} on.")
    if len(varied) < 2:
        return Importances(
            {}, {}, "Fewer than two parameters were varied, so there is nothing to weigh against each other."
        )
    drawn = _Drawn(known, complete)
    shares, intervals, used = {}, {}, []
    for place, (name, direction) in enumerate(objectives.items()):
        target = _lower_is_better(place, direction)
        drawn.draw(complete)
        if own := _shares(drawn, target):
            shares[name] = own
            intervals[name], draws = _intervals(own, drawn, complete, target)
            used.append(draws)
    if not shares:
        return Importances({}, {}, f"All {len(complete)} complete trials are alike, so no parameter is seen to matter.")
    note = (
        f"By PED-ANOVA over {len(complete)} complete trials: what sets the best tenth (two at least) apart from all. In"
        f" brackets the middle 90 % over {min(used)} draws of the trials with replacement."
    )
    return Importances(
        shares, intervals, note if len(complete) >= FEW else f"{note} So few trials give a rough picture."
    )


def _lower_is_better(place: int, direction: str) -> Callable[[FrozenTrial], float]:
    sign = 1.0 if direction == "minimize" else -1.0
    return lambda trial: sign * float(trial.values[place])


def _shares(study: optuna.Study, target: Callable[[FrozenTrial], float]) -> Shares:
    """Return the shares of the trials that a study tells of; none where they cannot be told apart."""
    with warnings.catch_warnings():  # that lower must be better, which is seen to; and regimes of few trials
        warnings.simplefilter("ignore", UserWarning)
        found = PedAnovaImportanceEvaluator().evaluate(study, target=target)
    whole = sum(found.values())
    if not math.isfinite(whole) or whole <= 0:
        return {}
    return {name: float(value / whole) for name, value in sorted(found.items(), key=lambda item: -item[1])}


def _intervals(
    own: Shares, drawn: _Drawn, trials: Sequence[FrozenTrial], target: Callable[[FrozenTrial], float]
) -> tuple[dict[str, MeasuredValue], int]:
    """Return each share with its ends, and how many draws told anything: one of trials that are all alike does not."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        drawn.draw([trials[place] for place in generator.integers(0, len(trials), len(trials))])
        if shares := _shares(drawn, target):
            found.append([shares.get(name, 0.0) for name in own])
    # fewer than half say nothing about how the others would have come out
    ends = np.quantile(found, ENDS, axis=0) if 2 * len(found) >= DRAWS else np.full((2, len(own)), np.nan)
    low, high = ([None if math.isnan(end) else float(end) for end in side] for side in ends)
    sure: dict[str, MeasuredValue] = {
        name: {"value": own[name], "low": low[place], "high": high[place]} for place, name in enumerate(own)
    }
    return sure, len(found)


def _varies(name: str, trials: Sequence[FrozenTrial]) -> bool:
    return len({str(trial.params[name]) for trial in trials if name in trial.params}) > 1
