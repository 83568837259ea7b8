"""What a search found, read from its storage: for the report and for the last line of the search itself."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from notus_exp.config.searched_metrics import tested_metric
from notus_exp.contracts.study_file import SearchRecord, SearchSummary, StudyFile, TrialRecord
from notus_exp.disk.outputs import read_study
from notus_exp.errors import STRUCK, UserError, first_line
from notus_exp.study.search.certainty import difference, in_words, tied, trial_intervals
from notus_exp.study.search.goals import bounds
from notus_exp.study.search.importances import importances
from notus_exp.study.search.kept import begun_here, finished_here, kept_of
from notus_exp.study.search.lease import LEASE, is_of_here
from notus_exp.study.search.same_search import DEFINITION, STANDALONE
from notus_exp.study.search.space import Space, read_space
from notus_exp.study.search.storage import damage_of, damaged, explained, open_storage
from notus_exp.study.search.storage_urls import ENVIRONMENT, STORAGE_FILE, shown, storage_url
from notus_exp.study.search.trials import EXPIRED, MEASURED, REASON, REPEATS, RUNS, STATE, unsealed

BASELINE = "baseline"
"""Name of the arm that the best trials are tested against: all settings but those that were searched."""
FRESH_SEEDS = 3
"""Seeds of the study that tests what a search found."""
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def summary(folder: Path) -> SearchSummary:
    """Return trials, best ones, importances and the command that tests the best ones.

    Args:
        folder: The study's, with its study.json.

    Raises:
        UserError: It is no search, or its storage cannot be reached.
    """
    content = read_study(folder)
    search = content.get("search")
    if search is None:
        raise UserError(f"the study '{content['name']}' is no search")
    known = _load(folder, content)
    asked = [] if known is None else [one for one in known.trials if one.state is not TrialState.WAITING]
    chosen = [] if known is None else best_trials(known)
    objectives = search["objectives"]
    found = importances(known, asked, objectives)
    trials = [_trial(one, search) for one in asked]
    kept = {one.number: kept_of(one) for one in asked}
    for trial, one in zip(trials, asked, strict=True):
        trial["intervals"] = trial_intervals(folder, trial, kept[trial["number"]])
        if _is_elsewhere(folder, trial, one):
            trial["elsewhere"] = True
    best = [one.number for one in chosen]
    if len(objectives) == 1 and best:
        (objective,) = objectives
        best = tied(trials, best[0], objective)
        first = next(trial for trial in trials if trial["number"] == best[0])
        for trial in trials:
            if trial["state"] == "complete" and trial["number"] not in best:
                behind = difference(folder, trial, first, objective, kept)
                trial["differences"] = {} if behind is None else {objective: behind}
    return {
        "objectives": objectives,
        "parameters": search["parameters"],
        "trials": trials,
        "best": best,
        "importances": found.rows,
        "importances_note": found.note,
        "command": None if known is None else _command(known, content, chosen),
        "said": in_words(trials, best, objectives),
    }


def runs_of_trials(folder: Path) -> list[str]:
    """Return the ids of all runs of a search's trials, without what `summary` computes of them.

    Args:
        folder: The study's, with its study.json.

    Raises:
        UserError: Its storage cannot be reached.
    """
    known = _load(folder, read_study(folder))
    trials = [] if known is None else known.get_trials(deepcopy=False)
    return [run for trial in trials for run in trial.user_attrs.get(RUNS, {}).values()]


def spent_elsewhere(folder: Path) -> float:
    """Return what the judges of runs cost that are not here, in USD, as far as their trials have ended.

    Args:
        folder: The study's, with its study.json.

    Raises:
        UserError: Its storage cannot be reached.
    """
    known = _load(folder, read_study(folder))
    spent = 0.0
    for trial in [] if known is None else known.get_trials(deepcopy=False):
        kept, runs = kept_of(trial), trial.user_attrs.get(RUNS, {}).values()
        here = is_of_here(trial.user_attrs.get(LEASE)) and any(begun_here(folder, run) for run in runs)
        spent += kept["usd"] if kept and not here else 0.0
    return spent


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the first best trial that keeps all constraints, or with several objectives those that none beats."""
    best: list[FrozenTrial] = sorted(study.best_trials, key=lambda trial: trial.number)
    return best if len(study.directions) > 1 else best[:1]


def _load(folder: Path, content: StudyFile) -> optuna.Study | None:
    """Return Optuna's study, None where it has not begun."""
    search = content["search"]
    storage = search.get("storage")
    if search["storage_file"] is None:
        whole = os.environ.get(ENVIRONMENT) or None
        storage = whole if storage is None else storage
        if storage is None or (STRUCK in storage and whole is None):  # as earlier versions wrote it
            raise UserError(f"the storage of '{content['name']}' is not known", f"set {ENVIRONMENT} to its whole URL")
    elif not (folder / search["storage_file"]).is_file():
        return None
    return load_checked(content["name"], storage_url(storage, folder), folder)


def load_checked(name: str, url: str, folder: Path) -> optuna.Study | None:
    """Return Optuna's study once it is known to be what was written there; None where it has not begun.

    Args:
        name: Of the search.
        url: Of its storage.
        folder: The study's.

    Raises:
        DamagedFileError: Its file, or a trial, is not what was written.
        UserError: The storage cannot be used.
    """
    own = url == storage_url(None, folder)
    where = folder / STORAGE_FILE if own else Path(shown(url))
    if own and not where.is_file():
        return None
    if own and (reason := damage_of(where)):
        raise damaged(where, reason)
    try:
        with explained(url):
            known = optuna.load_study(study_name=name, storage=open_storage(url))
            trials = known.get_trials(deepcopy=False)
            directions = [direction.name.lower() for direction in known.directions]
            objectives = known.user_attrs.get(DEFINITION, {}).get("study.search.objectives")
    except KeyError:
        if own and (others := optuna.get_all_study_names(open_storage(url))):
            raise damaged(where, f"it holds the search '{others[0]}'") from None
        return None
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # what is there is no trial
        raise damaged(where, first_line(error)) from None
    if objectives is not None and directions != list(objectives.values()):
        raise damaged(where, f"its objectives are to {' and '.join(directions)}")
    if changed := unsealed(trials):
        raise damaged(where, f"trial {changed[0]} is not what it was when it ended")
    return known


def _trial(trial: FrozenTrial, search: SearchRecord) -> TrialRecord:
    attributes = trial.user_attrs
    measured = attributes.get(MEASURED, {})
    complete = trial.state is TrialState.COMPLETE
    state = EXPIRED if attributes.get(STATE) == EXPIRED else _STATES.get(trial.state, "running")
    constraints = search["constraints"]
    kept = all(bound.excess(measured[bound.metric]) <= 0 for bound in bounds(constraints)) if complete else None
    return {
        "number": trial.number,
        "state": state,
        "params": dict(trial.params),
        "values": {name: measured.get(name) for name in search["objectives"]},
        "constraints": {name: measured[name] for name in constraints if name in measured},
        "feasible": kept if constraints else None,
        "reason": attributes.get(REASON),
        "seeds": len(attributes.get(RUNS, {})) if complete else 0,
        "runs": attributes.get(RUNS, {}),
        "repeats": attributes.get(REPEATS),
    }


def _is_elsewhere(folder: Path, trial: TrialRecord, asked: FrozenTrial) -> bool:
    """Say whether another machine has the folders of a trial's runs, and this one does not."""
    runs, own = [*trial["runs"].values()], is_of_here(asked.user_attrs.get(LEASE))
    if trial["state"] == "complete":
        return kept_of(asked) is not None and not all(finished_here(folder, run) for run in runs)
    return bool(runs) and not own and not any(begun_here(folder, run) for run in runs)


def _command(known: optuna.Study, content: StudyFile, best: Sequence[FrozenTrial]) -> str | None:
    """Return the command of a study that tests the best trials on test prompts, with seeds that no trial had.

    Its baseline are the settings of every run without what was searched: what one would have without the search. It is
    tested by what was searched for.
    """
    base = known.user_attrs.get(STANDALONE)
    if not best or base is None:
        return None
    space: Space = read_space(content["search"]["parameters"], [])
    names = ["best"] if len(best) == 1 else [f"trial_{trial.number}" for trial in best]
    arms = [
        f"+study.arms.{name}=[{','.join(_word(override) for override in space.overrides(trial.params))}]"
        for name, trial in zip(names, best, strict=True)
    ]
    start = max(content["seeds"]) + 1
    seeds = ",".join(str(seed) for seed in range(start, start + FRESH_SEEDS))
    metric = tested_metric(content["search"]["objectives"], content["metric"])
    arms = [f"+study.arms.{BASELINE}=[]", *arms, f"study.baseline={BASELINE}", f"study.metric={metric}"]
    own = [*base, *arms, f"study.seeds=[{seeds}]", f"study.name={content['name']}_best"]
    return shlex.join(["python", "-m", "notus_exp", "-m", *own])


def _word(override: str) -> str:
    """Return an override as an element of a list in an override, in double quotes: it may hold single ones itself."""
    escaped = override.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
