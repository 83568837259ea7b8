"""Running a search: ask for trials, run them, tell what came out, until there are as many as were wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import Trial
from rich.console import Console

from notus_exp.config.commandline import quoted
from notus_exp.config.schema import Stage
from notus_exp.config.study_settings import Search, Study
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.study_file import read_study_file
from notus_exp.disk import streams
from notus_exp.disk.aside import set_aside
from notus_exp.disk.credentials import without_credentials
from notus_exp.disk.outputs import STUDY_JSON
from notus_exp.errors import UserError
from notus_exp.reporting.console import make_console, shorten
from notus_exp.reporting.going_on import going_on, working
from notus_exp.run.pipeline import Run
from notus_exp.study.launching.jobs import Ended, Jobs
from notus_exp.study.launching.launchers import reason_of
from notus_exp.study.launching.pace import Pace
from notus_exp.study.search.goals import bounds, check_goals, measure, measured_metrics
from notus_exp.study.search.kept import keep
from notus_exp.study.search.lease import Keeper
from notus_exp.study.search.methods import make_pruner, make_sampler
from notus_exp.study.search.same_search import STANDALONE, check_same, check_space, standalone, trial_overrides
from notus_exp.study.search.search_forecast import expected_of_search
from notus_exp.study.search.space import Label, Space, read_space
from notus_exp.study.search.storage import COMPANIONS, explained, has_tables, open_storage
from notus_exp.study.search.storage_urls import STORAGE_FILE, check_storage, shown, storage_url
from notus_exp.study.search.summary import best_trials, load_checked
from notus_exp.study.search.trial_locks import turns
from notus_exp.study.search.trials import Trials, counts

WAIT_SECONDS = 5.0
"""How often a process that has nothing to do looks whether one that has was lost."""
_STORAGE_KEY = "study.search.storage"


def run_search(
    jobs: Jobs,
    study: Study,
    folder: Path,
    common: list[str],
    console: Console,
    may_start: Callable[[], str | None],
    *,
    begin: Callable[[], None],
) -> None:
    """Run trials until the study has as many finished ones as it asks for, over all processes that work on it.

    Args:
        jobs: Composes, plans and launches runs.
        study: The study's settings, its name set.
        folder: outputs/studies/<name>.
        common: Overrides of every run, `study.name` among them.
        console: Where progress is shown.
        may_start: Returns why no further trial may begin, else None.
        begin: Called once it is known to be the search that the folder belongs to, before its first trial.

    Raises:
        UserError: The search cannot be run as described; nothing was launched.
    """
    check_goals(study.search)
    storage = check_storage(study.search.storage)
    if storage is not None:
        common = [one for one in common if one.lstrip("+").partition("=")[0] != _STORAGE_KEY]
        common = [*common, f"{_STORAGE_KEY}={quoted(storage)}"]
    study = replace(study, search=replace(study.search, storage=storage))
    space = read_space(study.search.parameters, common)
    if study.search.sampler == "grid":
        space.combinations()
    probes = check_space(jobs, study.search, space, common, study.seeds)
    first = probes[0]
    if first.config.until is Stage.config:
        finished = _finished(study, folder, first, console)
        _show_plan(study, space, probes, finished, make_console(streams.out()), console)
        return
    folder.mkdir(parents=True, exist_ok=True)
    url = storage_url(storage, folder)
    with explained(url):
        mine: list[Trials] = []

        def away() -> None:
            _say(console, f"{shown(url)} is away: it is tried again for study.search.lease={study.search.lease:g} s")
            for one in mine:  # nobody could renew a lease meanwhile
                one.watch_anew()

        turn = turns(url, folder, str(study.name), study.search.lease, away)
        with turn:  # two processes that begin at once would both make the tables
            if storage is None:
                _set_damaged_aside(study, folder, console)
            known = optuna.create_study(
                study_name=study.name,
                storage=open_storage(url),
                directions=[StudyDirection[one.upper()] for one in study.search.objectives.values()],
                sampler=make_sampler(study.search, 0),
                pruner=make_pruner(study.search, first.config.dpo.evaluations),
                load_if_exists=True,
            )
            check_same(known, study, first, _recorded(folder))
        if STANDALONE not in known.user_attrs:
            known.set_user_attr(STANDALONE, standalone(jobs, space, common, study.seeds[0], first))
        begin()
        where = shorten(folder / STORAGE_FILE) if storage is None else shown(url)
        _say(console, f"search {study.name}: sampler {study.search.sampler}, trials in {where}")
        with Keeper(study.search.lease) as keeper:
            trials = Trials(known, turn, study.search, space, keeper)
            mine.append(trials)
            _Searching(jobs, study, folder, common, console, space, known, trials).go_on(may_start)


def _set_damaged_aside(study: Study, folder: Path, console: Console) -> None:
    """Begin a search's file anew where it cannot be believed: the same trials are asked, and their runs are there."""
    path = folder / STORAGE_FILE
    try:
        load_checked(str(study.name), storage_url(None, folder), folder)
    except DamagedFileError as error:
        kept = set_aside(path, COMPANIONS)
        _say(console, f"{error.message}; it is set aside as {kept.name}, and its trials are asked again")


def _finished(study: Study, folder: Path, first: Run, console: Console) -> int:
    """Count the trials that are finished, without making anything: only a search that was begun has a storage."""
    url = storage_url(study.search.storage, folder)
    with explained(url):
        if not (has_tables(url) if study.search.storage else (folder / STUDY_JSON).is_file()):
            return 0
    try:
        known = load_checked(str(study.name), url, folder)
    except DamagedFileError as error:
        _say(console, f"{error.message}; the search will set it aside and ask its trials again")
        return 0
    if known is None:
        return 0
    check_same(known, study, first, _recorded(folder))
    return sum(counts(trial) for trial in known.get_trials(deepcopy=False))


def _recorded(folder: Path) -> Mapping[str, Any]:
    """Return what study.json says of the search; nothing where there is none that can be read."""
    try:
        return read_study_file(folder / STUDY_JSON).get("search") or {}
    except (FileNotFoundError, DamagedFileError):
        return {}


class _Searching:
    """One process's part in a search."""

    def __init__(
        self,
        jobs: Jobs,
        study: Study,
        folder: Path,
        common: Sequence[str],
        console: Console,
        space: Space,
        known: optuna.Study,
        trials: Trials,
    ) -> None:
        self._jobs, self._study, self._folder, self._common, self._console = jobs, study, folder, common, console
        self._space, self._known, self._trials = space, known, trials
        self._search: Search = study.search
        self._bounds = bounds(study.search.constraints)
        self._pace: Pace | None = None

    def go_on(self, may_start: Callable[[], str | None]) -> None:
        """Ask, run and tell until nothing is left; what is not told in the end is given back."""
        try:
            if self._search.sampler == "grid":
                self._announce_grid(self._trials.plan_grid())
            with going_on(self._console).open():
                try:
                    self._go_on(may_start)
                finally:
                    if self._pace:
                        self._pace.end()
        finally:
            self._trials.release()

    def _go_on(self, may_start: Callable[[], str | None]) -> None:
        waiting = False
        while True:
            if reason := may_start():
                self._say(f"{reason}: no further trial is started; the same command goes on")
                return
            asked = self._trials.ask(self._search.concurrency)
            for number in asked.taken:
                self._say(f"trial {number} expired: the process that worked on it is gone; it is asked again")
            pace = self._at(asked.finished)
            if asked.trials:
                waiting = False
                left = f", {pace.left()} left" if pace.left() else ""
                self._say(f"{asked.finished} of {self._search.trials} trials are finished{left}")
                self._run(asked.trials)
            elif asked.elsewhere:
                if not waiting:
                    self._say(f"waiting for {asked.elsewhere} trial(s) of other processes")
                waiting = True
                time.sleep(min(WAIT_SECONDS, self._search.lease / 2))
            else:
                self._say(f"the search is finished: {asked.finished} trials; {self._best()}")
                return

    def _at(self, finished: int) -> Pace:
        """Note how many trials are finished, by whichever process; those of others make the search as much faster."""
        if self._pace is None:
            self._pace = Pace(self._console, f"search {self._study.name}", "trials", self._search.trials, finished)
        self._pace.at(finished)
        return self._pace

    def _announce_grid(self, combinations: int) -> None:
        if combinations > self._search.trials:
            self._say(
                f"the grid has {combinations} combinations: study.search.trials={self._search.trials} "
                f"leaves {combinations - self._search.trials} out"
            )

    def _run(self, asked: Sequence[tuple[Trial, Mapping[str, Label]]]) -> None:
        """Run new trials to their end: where there is a pruner the first seed of each, then the others of the rest."""
        planned: dict[int, tuple[Trial, dict[int, tuple[list[str], Run]]]] = {}
        for trial, params in asked:
            self._say(f"trial {trial.number}: {' '.join(self._space.overrides(params))}")
            try:
                runs = self._plan(trial, params)
            except UserError as error:
                self._fail(trial, str(error))
                continue
            if self._trials.note_runs(trial, {seed: run.id for seed, (_, run) in runs.items()}):
                planned[trial.number] = trial, runs
            else:
                self._lost(trial)
        seeds = self._study.seeds
        waves = [seeds[:1], seeds[1:]] if self._search.pruner != "none" and len(seeds) > 1 else [seeds]
        for place, wave in enumerate(waves):
            batch = [(number, seed) for number in planned for seed in wave]
            overrides = [planned[number][1][seed][0] for number, seed in batch]
            for (number, seed), ended in zip(batch, self._launch(overrides), strict=True):
                if number in planned and ended.status != "finished":
                    trial, runs = planned.pop(number)
                    self._keep(trial, runs)
                    self._end(trial, seed, ended)
            if place == len(waves) - 1:
                for trial, runs in planned.values():
                    self._keep(trial, runs)
                    self._conclude(trial, [run.id for _, run in runs.values()])

    def _launch(self, overrides: Sequence[list[str]]) -> list[Ended]:
        try:
            return self._jobs.launch(overrides) if overrides else []
        except Exception as error:  # of the launcher, such as a queue that takes no job: no trial's own failure
            raise UserError(
                f"the launcher failed: {reason_of(error)}", "the same command asks for these trials again"
            ) from error

    def _plan(self, trial: Trial, params: Mapping[str, Label]) -> dict[int, tuple[list[str], Run]]:
        runs = {}
        for seed in self._study.seeds:
            overrides = trial_overrides(self._space, params, self._common, seed, trial.number)
            runs[seed] = overrides, self._jobs.plan(overrides)
        return runs

    def _keep(self, trial: Trial, runs: Mapping[int, tuple[list[str], Run]]) -> None:
        """Let the storage hold what other machines need: beside a file of the study's the runs themselves lie."""
        if self._search.storage is not None:
            ids = {str(seed): run.id for seed, (_, run) in runs.items()}
            self._trials.keep(trial, keep(self._folder, ids, [*self._search.objectives]))

    def _end(self, trial: Trial, seed: int, ended: Ended) -> None:
        reason = ended.reason or ended.status
        if ended.status != "pruned":
            self._fail(trial, f"seed {seed}: {reason}")
        elif self._trials.prune(trial, reason):
            self._say(f"trial {trial.number} {reason}")
        else:
            self._lost(trial)

    def _conclude(self, trial: Trial, runs: Sequence[str]) -> None:
        values, reason = measure(self._folder, runs, measured_metrics(self._search))
        if reason is not None:
            self._fail(trial, reason)
            return
        if not self._trials.complete(trial, values, self._bounds):
            self._lost(trial)
            return
        broken = [one for one in self._bounds if one.excess(values[one.metric]) > 0]
        outside = "".join(f"; breaks at {one.side} {one.value:g} of {one.metric}" for one in broken)
        self._say(f"trial {trial.number} complete: {_listed(values)}{outside}; {self._best()}")

    def _fail(self, trial: Trial, reason: str) -> None:
        reason = str(without_credentials(reason)).replace("\n  ", "; ")
        if self._trials.fail(trial, reason):
            self._say(f"trial {trial.number} failed: {reason}")
        else:
            self._lost(trial)

    def _lost(self, trial: Trial) -> None:
        self._say(
            f"trial {trial.number} was taken over by another process, which saw no sign of this one for "
            f"study.search.lease={self._search.lease:g} seconds; it has been asked again; its runs are kept"
        )

    def _best(self) -> str:
        best = best_trials(self._known)
        if not best:
            return "no trial keeps all constraints yet" if self._bounds else "no trial is complete yet"
        if len(best) > 1:
            return f"best so far: trials {', '.join(str(trial.number) for trial in best)} (none beats another in all)"
        values = dict(zip(self._search.objectives, best[0].values, strict=True))
        ties = len(self._known.best_trials) - 1
        beside = f", and {ties} {'ties' if ties == 1 else 'tie'} with it" if ties else ""
        return f"best so far: trial {best[0].number} ({_listed(values)}){beside}"

    def _say(self, line: str) -> None:
        _say(self._console, line)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _show_plan(
    study: Study, space: Space, probes: Sequence[Run], finished: int, out: Console, console: Console
) -> None:
    """Print what a search would do; on the console what is told on the way to it."""
    search = study.search
    many = f"{len(space.combinations())} combinations, " if search.sampler == "grid" else ""
    size = f"{many}{search.trials} trials of {len(study.seeds)} run(s) each"
    _say(out, f"search {study.name}: {size}, sampler {search.sampler}, pruner {search.pruner}")
    for parameter in space.parameters:
        scale = f"{parameter.low:g} to {parameter.high:g}{' on a log scale' if parameter.log else ''}"
        tried = ", ".join(parameter.texts.values()) or scale
        only = "".join(f", only with {key} in {labels}" for key, labels in parameter.when.items())
        _say(out, f"  {parameter.key}: {tried}{only}")
    for name, direction in search.objectives.items():
        _say(out, f"  {direction} {name}")
    for bound in bounds(search.constraints):
        _say(out, f"  {bound.metric} at {bound.side} {bound.value:g}")
    wanted = min(len(space.combinations()), search.trials) if search.sampler == "grid" else search.trials
    if finished:
        _say(out, f"{finished} of {wanted} trials are finished")
    left = max(wanted - finished, 0)
    if not left:
        _say(out, "expected: nothing is left to run")
        return
    with working(console, "forecasting"):  # which may measure this machine
        expected = expected_of_search(study, left, probes, lambda line: _say(console, line))
    of = f" for the {left} left" if finished else ""
    _say(out, f"expected{of}, if all trials were like one of the first values, one after the other: {expected}")
