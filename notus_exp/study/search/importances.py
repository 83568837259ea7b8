"""What each setting of a search matters, as far as its trials can tell.

PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv 2304.10255; settings that only some trials have: arXiv 2601.20800)
measures the Pearson divergence between a setting's values in the best trials and in all of them. Best is the better
half here, and not the usual tenth: a tenth of 20 trials is 2, which chance alone sets apart. The divergence of few
trials is above 0 where a setting does nothing, and more so of a range than of two choices; what it is on average where
the better half is drawn by chance is taken off, and a setting's share is what is left, at least 0, over the sum of
that. It is no share of variation explained. Beside each share stand

- an interval: the middle 90 % of the shares over halves of the trials, drawn without replacement. Half samples scatter
  as the estimate itself does, also where it is not smooth (the jackknife that leaves out half: Shao and Wu 1989, Annals
  of Statistics 17(3)). Draws in which a setting does not vary are left out: they do not say that it matters nothing.
  The interval is widened to hold its own share.
- a permutation test: how often a divergence as large arises where the better half is drawn by chance, corrected over
  the settings (Holm). A setting that only some trials have is tested among these.
- whether it can be told from the others at all: settings that were never varied, that too few trials have, or whose
  values the other settings all but determine, have no share.

docs/searches.md tells how often that errs.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import distribution_to_json
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import rankdata

from notus_exp.contracts.study_file import CANNOT_TELL, MATTERS, ImportanceRow
from notus_exp.inference.multiplicity import adjust

LEAST = 10
"""Trials with a setting below which nothing is told of it: the better half of 10 is 5, the fewest for which PED-ANOVA's
authors call the estimate stable (in Optuna's documentation); there are then 252 halves for chance to draw."""
DRAWS = 100
"""Half samples of the trials."""
ENDS = (0.05, 0.95)
"""What the interval leaves out on either side."""
PERMUTATIONS = 199
"""Better halves drawn by chance, at least; of more than 5 settings 40 for each, so that Holm can still find them."""
LEVEL = 0.05
"""Below which a corrected p says that a setting matters."""
DETERMINED = 0.8
"""Share of a setting's variation that another determines, or all others together (adjusted R squared), from which it
cannot be told from them: a variance inflation factor of 5, the usual limit."""

Rows = dict[str, ImportanceRow]
"""Setting -> what is known of it."""
Flags = NDArray[np.bool_]


class Importances(NamedTuple):
    """Importances of the settings.

    Attributes:
        rows: Objective -> setting -> its row, the largest share first; without objectives of which nothing is known.
        note: How they were found, or why there are none.
    """

    rows: dict[str, Rows]
    note: str


def importances(
    known: optuna.Study | None, trials: Sequence[FrozenTrial], objectives: Mapping[str, str]
) -> Importances:
    """Return what each setting matters for each objective; from the same trials always the same.

    Args:
        known: Optuna's study, None where it has not begun.
        trials: Those that were asked.
        objectives: Metric -> minimize or maximize.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    many = f"{len(complete)} complete {'trial' if len(complete) == 1 else 'trials'}"
    if known is None or len(complete) < LEAST:
        return Importances({}, f"What each setting matters cannot be told from {many}; {LEAST} are needed.")
    reasons = _untold(complete)
    weighed = sorted({name for trial in complete for name in trial.params} - reasons.keys())
    if len(weighed) < 2:
        why = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
        return Importances(
            {}, f"What each setting matters cannot be told: fewer than two can be weighed against each other ({why})."
        )
    found: dict[str, Rows] = {}
    for place, (name, direction) in enumerate(objectives.items()):
        sign = 1.0 if direction == "maximize" else -1.0
        values = [sign * float(trial.values[place]) for trial in complete]
        if len(set(values)) > 1:
            rows = _once(tuple(map(_content, complete)), tuple(values), tuple(weighed), _Trials(complete))
            left = {name: _row(_having(complete, name), reason) for name, reason in reasons.items()}
            found[name] = {**{setting: {**row} for setting, row in rows.items()}, **left}  # type: ignore[misc]
    if not found:
        return Importances({}, f"All {many} are alike, so no setting is seen to matter.")
    return Importances(found, _note(found, many))


def _note(found: Mapping[str, Rows], many: str) -> str:
    sure = {
        name: [setting for setting, row in rows.items() if row["verdict"] == MATTERS] for name, rows in found.items()
    }
    several = len(found) > 1
    told = [
        (f"For {name}: " if several else "")
        + (f"{', '.join(settings)} can be told to matter" if settings else "no setting can be told to matter")
        for name, settings in sure.items()
    ]
    return (
        f"Over {many}: {'; '.join(told)}. A share is PED-ANOVA's: how far the settings of the better half of the trials"
        " differ from those of all (Pearson divergence), beyond what chance alone gives, over the sum of that. The"
        " interval holds the middle 90 % of the shares over halves of the trials; p is how often chance gives such a"
        " difference (permutation, Holm over the settings). Shares sum to 1 also where nothing matters."
    )


# ------------------------------------------------------------------------------------------------------- what is untold
def _having(trials: Iterable[FrozenTrial], name: str) -> int:
    return sum(name in trial.params for trial in trials)


def _untold(trials: Sequence[FrozenTrial]) -> dict[str, str]:
    """Return the settings of which nothing can be told -> why."""
    names = sorted({name for trial in trials for name in trial.params})
    reasons = {}
    for name in names:
        values = {json.dumps(trial.params[name]) for trial in trials if name in trial.params}
        if len(values) < 2:
            reasons[name] = "was never varied"
        elif (having := _having(trials, name)) < LEAST:
            reasons[name] = f"was part of {having} complete trials; {LEAST} are needed"
    left = [name for name in names if name not in reasons]
    determined = {name: others for name in left if (others := _determined_by(name, left, trials))}
    return reasons | {name: f"moved together with {others}" for name, others in determined.items()}


def _determined_by(name: str, names: Sequence[str], trials: Sequence[FrozenTrial]) -> str:
    """Return which other settings all but determine one, over the trials that have it; "" where none do."""
    having = [trial for trial in trials if name in trial.params]
    others = [other for other in names if other != name]
    alone = [other for other in others if _together(name, other, having) >= DETERMINED]
    if alone or not others:
        return " and ".join(alone)
    explained = _explained(_columns(name, having), [_columns(other, having) for other in others])
    return "the other settings together" if explained >= DETERMINED else ""


def _together(one: str, other: str, trials: Sequence[FrozenTrial]) -> float:
    """Return how far two settings moved together, 0 to 1, the same either way round.

    Of two numbers it is the square of Spearman's correlation, of two choices the R squared of one by the other. Of a
    number and a choice it is the correlation ratio of the ranks over the largest that groups of these sizes can have:
    1 where the choices part the numbers into blocks.
    """
    numbers = [name for name in (one, other) if _is_number(name, trials) and all(name in own.params for own in trials)]
    if len(numbers) != 1:
        return max(_explained(_columns(one, trials), [_columns(other, trials)], adjusted=False), 0.0)
    (number,) = numbers
    choice = other if number == one else one
    ranks = rankdata([trial.params[number] for trial in trials])
    groups = [json.dumps(trial.params[choice]) if choice in trial.params else "" for trial in trials]
    means = {
        group: float(np.mean([r for r, g in zip(ranks, groups, strict=True) if g == group])) for group in {*groups}
    }
    blocks = sorted(groups, key=means.__getitem__)
    most = _between(np.sort(ranks), blocks)
    return _between(ranks, groups) / most if most > 0 else 0.0


def _between(values: NDArray[np.float64], groups: Sequence[str]) -> float:
    """Return the sum of squares between groups."""
    labels = np.array(groups)
    return float(sum((labels == one).sum() * (values[labels == one].mean() - values.mean()) ** 2 for one in {*groups}))


def _is_number(name: str, trials: Sequence[FrozenTrial]) -> bool:
    there = [trial.params[name] for trial in trials if name in trial.params]
    return len(set(there)) > 2 and all(isinstance(one, int | float) and not isinstance(one, bool) for one in there)


def _columns(name: str, trials: Sequence[FrozenTrial]) -> NDArray[np.float64]:
    """Return a setting as centred columns: the ranks of numbers, a column for each other value, and for its absence."""
    values = [trial.params.get(name) for trial in trials]
    there = [value for trial, value in zip(trials, values, strict=True) if name in trial.params]
    if _is_number(name, trials):
        order = sorted(set(map(float, there)))  # type: ignore[arg-type]
        ranks = [(len(order) - 1) / 2 if value is None else float(order.index(value)) for value in values]
        columns = [ranks] if len(there) == len(values) else [ranks, [float(name in trial.params) for trial in trials]]
    else:
        texts = [json.dumps(value) if name in trial.params else "" for trial, value in zip(trials, values, strict=True)]
        columns = [[float(text == level) for text in texts] for level in sorted(set(texts))[1:]]
    table = np.array(columns, dtype=np.float64).reshape(len(columns), len(trials)).T
    return np.asarray(table - table.mean(axis=0))


def _explained(own: NDArray[np.float64], others: Sequence[NDArray[np.float64]], *, adjusted: bool = True) -> float:
    """Return the R squared of a setting's columns by others'; adjusted 1 where they are too many for the trials."""
    whole = np.concatenate(others, axis=1)
    total, used = float(np.square(own).sum()), int(np.linalg.matrix_rank(whole)) if whole.size else 0
    free = len(own) - 1 - used
    if total == 0 or used == 0:
        return 0.0
    if adjusted and free <= 0:
        return 1.0
    fitted = whole @ np.linalg.lstsq(whole, own, rcond=None)[0]
    left = float(np.square(own - fitted).sum()) / total
    return 1 - left * ((len(own) - 1) / free if adjusted else 1.0)


# --------------------------------------------------------------------------------------------------------------- shares
class _Trials(tuple[FrozenTrial, ...]):
    """Trials that stand beside the key of a cache, which tells them apart by their content."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Trials)

    def __hash__(self) -> int:
        return 0


class _Shown(optuna.Study):
    """A study of given trials, held in memory."""

    def __init__(self) -> None:
        storage = InMemoryStorage()
        super().__init__(optuna.create_study(storage=storage).study_name, storage)
        self.shown: list[FrozenTrial] = []

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return self.shown


def _content(trial: FrozenTrial) -> str:
    distributions = {name: distribution_to_json(one) for name, one in trial.distributions.items()}
    return json.dumps([trial.params, distributions], sort_keys=True)


@functools.lru_cache(maxsize=8)  # a search's end asks for it in the comparison, the page and the terminal
def _once(contents: tuple[str, ...], values: tuple[float, ...], names: tuple[str, ...], trials: _Trials) -> Rows:
    """Return the rows of the settings that can be weighed.

    Args:
        contents: What tells the trials apart.
        values: One a trial; higher is better.
        names: The settings.
        trials: Complete ones, not all alike.
    """
    every, generator, study = np.array(values), np.random.default_rng(0), _Shown()
    half = _better_half(every)
    own = _divergences(study, trials, half, names)
    p: dict[str, float] = {}
    chance: dict[str, float] = {}
    groups: dict[tuple[bool, ...], list[str]] = {}
    for name in names:
        groups.setdefault(tuple(name in trial.params for trial in trials), []).append(name)
    for there, group in groups.items():
        drawn = _by_chance(
            study, trials, half, np.array(there), group, max(PERMUTATIONS, 40 * len(names) - 1), generator
        )
        for name, values_by_chance in zip(group, drawn.T, strict=True):
            reached = int((values_by_chance >= own[name] * (1 - 1e-9)).sum())
            p[name] = (1 + reached) / (1 + len(values_by_chance))
            chance[name] = float(values_by_chance.mean())
    corrected = {name: one.holm for name, one in zip(names, adjust([p[name] for name in names]), strict=True)}
    shares = _shares(own, chance)
    ends = _intervals(study, trials, every, names, shares, generator)
    rows: Rows = {}
    for name in sorted(names, key=lambda one: -shares.get(one, 0.0)):
        low, high = ends.get(name, (None, None))
        told = {"value": shares.get(name), "low": low, "high": high, "p": p[name], "holm": corrected[name]}
        rows[name] = _row(_having(trials, name), None if shares else "sets the better half apart no more than chance")
        rows[name].update(told)  # type: ignore[typeddict-item]
        rows[name]["verdict"] = MATTERS if corrected[name] <= LEVEL else CANNOT_TELL
    return rows


def _row(trials: int, reason: str | None) -> ImportanceRow:
    """Return the row of a setting of which nothing is told."""
    return {
        "value": None, "low": None, "high": None, "p": None, "holm": None, "trials": trials, "verdict": CANNOT_TELL,
        "reason": reason,
    }  # fmt: skip


def _better_half(values: NDArray[np.float64]) -> Flags:
    """Say which values are the better half; where many are equal, the cut nearest to it that parts no equal ones."""
    cuts = np.unique(values)[1:]
    sizes = [int((values >= cut).sum()) for cut in cuts]
    nearest = min(range(len(cuts)), key=lambda place: (abs(sizes[place] - len(values) / 2), sizes[place]))
    return np.asarray(values >= cuts[nearest])


def _divergences(study: _Shown, trials: Sequence[FrozenTrial], better: Flags, names: Sequence[str]) -> dict[str, float]:
    """Return how far each setting's values in the better trials are from those in all: PED-ANOVA's, not yet shares."""
    study.shown = list(trials)
    best = {id(trial) for trial, is_better in zip(trials, better, strict=True) if is_better}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(len(best) - 0.5) / len(trials))
    with warnings.catch_warnings():  # that lower must be better, which is seen to; and regimes of few trials
        warnings.simplefilter("ignore", UserWarning)
        return evaluator.evaluate(study, list(names), target=lambda trial: float(id(trial) not in best))


def _shares(divergences: Mapping[str, float], chance: Mapping[str, float]) -> dict[str, float]:
    """Return each setting's share of what goes beyond chance; empty where nothing does."""
    beyond = {name: max(value - chance[name], 0.0) for name, value in divergences.items()}
    whole = sum(beyond.values())
    return {name: value / whole for name, value in beyond.items()} if whole > 0 else {}


def _by_chance(
    study: _Shown,
    trials: Sequence[FrozenTrial],
    better: Flags,
    there: Flags,
    names: Sequence[str],
    draws: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Return divergences, draws by names, where it is drawn by chance which of the trials `there` are better."""
    drawn, places, found = better.copy(), np.flatnonzero(there), []
    for _ in range(draws):
        drawn[places] = better[generator.permutation(places)]
        one = _divergences(study, trials, drawn, names)
        found.append([one[name] for name in names])
    return np.array(found)


def _intervals(
    study: _Shown,
    trials: Sequence[FrozenTrial],
    values: NDArray[np.float64],
    names: Sequence[str],
    shares: Mapping[str, float],
    generator: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """Return the ends of each share over half samples; none where most of these cannot tell anything."""
    drawn, by_chance = [], []
    for _ in range(DRAWS):
        places = generator.permutation(len(trials))[: len(trials) // 2]
        half, own = [trials[place] for place in places], values[places]
        if len(set(own)) > 1 and all(_varies(name, half) for name in names):
            drawn.append(_divergences(study, half, _better_half(own), names))
            by_chance.append(_divergences(study, half, _better_half(generator.permutation(own)), names))
    if not drawn or not shares:
        return {}
    chance = {name: float(np.mean([one[name] for one in by_chance])) for name in names}
    found = [[told[name] for name in names] for one in drawn if (told := _shares(one, chance))]
    if 2 * len(found) < DRAWS:
        return {}
    lows, highs = np.quantile(found, ENDS, axis=0)
    return {
        name: (min(float(low), shares[name]), max(float(high), shares[name]))
        for name, low, high in zip(names, lows, highs, strict=True)
    }


def _varies(name: str, trials: Iterable[FrozenTrial]) -> bool:
    return len({json.dumps(trial.params[name]) for trial in trials if name in trial.params}) > 1
