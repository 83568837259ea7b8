"""The runs of a study's arms: planned and checked before the first one starts, launched in batches, looked up again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from notus_exp.config.doubts import doubts, margin_doubts
from notus_exp.config.expression_checks import named_columns
from notus_exp.contracts.run_file import read_run_file
from notus_exp.disk import streams
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.hashing import digest
from notus_exp.disk.in_use import using
from notus_exp.disk.outputs import read_run
from notus_exp.errors import UserError, first_line, named_line
from notus_exp.evaluation.metrics import limit_of, width_of
from notus_exp.reporting.console import make_console, say, shorten, verbose
from notus_exp.reporting.going_on import going_on, working
from notus_exp.reporting.tables import Table, print_table
from notus_exp.reporting.texts import many
from notus_exp.run.display import in_a_line
from notus_exp.run.forecast import Forecast, Wanted
from notus_exp.run.intact import examine
from notus_exp.run.pipeline import Run
from notus_exp.run.record import notes_of
from notus_exp.stages.settings import to_json
from notus_exp.study.launching.jobs import Ended, Jobs
from notus_exp.study.launching.pace import Pace
from notus_exp.study.launching.prepare import prepare

POLL_SECONDS = 0.5
"""How often a process looks whether another one has let go of a run."""
WATCH_SECONDS = 2.0
"""How often runs that a launcher has at once are looked at."""


class Planned(NamedTuple):
    """A run of a study.

    Attributes:
        arm: Name of its arm.
        seed: Its seed.
        overrides: All of them, as a launcher is given them.
        run: The plan.
    """

    arm: str
    seed: int
    overrides: list[str]
    run: Run


class Launched(NamedTuple):
    """How launching went.

    Attributes:
        failed: Run id -> reason.
        stopped: Why some runs were not started, else None.
    """

    failed: dict[str, str]
    stopped: str | None


@dataclass
class Budget:
    """What a study may take: hours since the command began, and USD that judges cost over all of its runs.

    Attributes:
        hours: None for no limit.
        usd: None for no limit.
        folder: The study's.
    """

    hours: float | None
    usd: float | None
    folder: Path
    started: float = field(default_factory=time.monotonic)

    def spent(self, ids: Iterable[str]) -> float:
        """Return what the judges of these runs have cost, in USD."""
        runs = [read_run(self.folder, one) for one in {*ids}]
        return sum(run["costs"].get("judge_usd") or 0.0 for run in runs if "costs" in run)

    def exhausted(self, ids: Iterable[str]) -> str | None:
        """Return in words why no further run may start, else None."""
        hours = (time.monotonic() - self.started) / 3600
        if self.hours is not None and hours >= self.hours:
            return f"study.max_hours={self.hours:g} is over"
        if self.usd is not None and (usd := self.spent(ids)) >= self.usd:
            return f"study.max_cost={self.usd:g} is spent ({usd:.2f} USD)"
        return None


def plan_arm(jobs: Jobs, arm: str, seeds: Sequence[int], overrides: Sequence[str]) -> list[Planned]:
    """Return the runs of an arm, one a seed.

    Raises:
        UserError: It cannot be run as described; the message names the arm.
    """
    planned = []
    for seed in seeds:
        complete = [*overrides, f"seed={seed}"]
        try:
            planned.append(Planned(arm, seed, complete, jobs.plan(complete)))
        except UserError as error:
            raise UserError(f"arm '{arm}': {error.message}", error.hint) from error
    return planned


def missing(planned: Sequence[Planned], folder: Path, *, read: bool = True) -> list[Planned]:
    """Return the runs that have not finished, whose last artifact is no longer there, or of which one is damaged.

    Args:
        planned: The runs.
        folder: The study's.
        read: Whether artifacts that were not checked before are read, or sizes are enough.
    """

    def finished(one: Planned) -> bool:
        if read_run(folder, one.run.id)["status"] != "finished":
            return False
        looks = [examine(node, one.run.store, one.run.by_key, read=read) for node in one.run.nodes]
        return looks[-1].manifest is not None and not any(look.damage for look in looks)

    return [one for one in planned if not finished(one)]


def show(
    planned: Sequence[Planned], folder: Path, out: Console, *, tell: Callable[[str], None], in_process: bool = True
) -> None:
    """Print what is to be done: each arm's runs, the stages that are made or reused, and the time that may take.

    Args:
        planned: The runs.
        folder: The study's.
        out: Where the plan is printed.
        tell: Shows a line on the way to it.
        in_process: Whether the runs are made here, one after the other.
    """
    left = {one.run.id for one in missing(planned, folder, read=False)}
    arms = []
    for arm in dict.fromkeys(one.arm for one in planned):
        own = [one for one in planned if one.arm == arm]
        to_run = sum(one.run.id in left for one in own)
        seeds = dict.fromkeys(one.seed for one in own)  # tuning has a run of each seed for every candidate
        arms.append([arm, ",".join(map(str, seeds)), str(len(own) - to_run), str(to_run)])
    print_table(Table("Runs", ["arm", "seeds", "finished", "to run"], arms), out)
    distinct = {node.key: (node, one.run) for one in planned for node in one.run.nodes}
    wanted = [node for node, run in distinct.values() if not run.store.find(node.wanted)]
    nodes = {key: node for key, (node, _) in distinct.items()}
    with working(make_console(streams.err()), "forecasting"):  # which may measure this machine
        forecast = Forecast(Wanted(planned[0].run.config, nodes, wanted), several=True, say=tell)
        needed = Counter(node.stage for one in planned for node in one.run.nodes)
        stages = []
        for stage in sorted(needed, key=lambda one: one.value):
            to_make = [node for node in wanted if node.stage is stage]
            different = sum(node.stage is stage for node, _ in distinct.values())
            stages.append(
                [stage.name, str(needed[stage]), str(different), str(len(to_make)), forecast.briefly(to_make)]
            )
        words = forecast.in_words(wanted)
    print_table(Table("Stages of all runs", ["stage", "needed", "distinct", "to make", "expected"], stages), out)
    order = "one run after the other"
    if not in_process:
        order = f"if {order} were made on this machine (the launcher may make several at once, or elsewhere)"
    say(out, f"expected, {order}: {words}")
    keys = {node.key for node in wanted}
    for node, run in distinct.values():
        for line in run.asking([node], forecast.known) if node.key in keys else []:
            say(out, line)
    configs = [one.run.config for one in planned]
    used = {name for config in configs for name in named_columns(config)}
    questions = [question for config in configs for question in doubts(config, used)]
    asked = planned[0].run.config.study
    limit = limit_of(asked.metric, [config.evaluation for config in configs])
    questions += margin_doubts(asked.margin, asked.metric, width_of(asked.metric, limit))
    for question in dict.fromkeys(questions):
        say(out, f"question: {question}")


def launch(
    jobs: Jobs,
    planned: Sequence[Planned],
    folder: Path,
    *,
    batch: int | None,
    stop: Callable[[], str | None],
    console: Console,
) -> Launched:
    """Run what is missing, shared stages first, and tell how that went; meanwhile nothing of it is pruned.

    Args:
        jobs: Composes and launches.
        planned: The runs.
        folder: The study's.
        batch: Runs handed to the launcher at once; None: 1 with the basic launcher, else all.
        stop: Says between batches why no further run may start, else None.
        console: Where progress is shown.

    Raises:
        UserError: What all of the runs need is not there; nothing was made.
    """
    if not planned:
        return Launched({}, None)
    used = (name for one in planned for node in one.run.nodes for name in node.folders)
    with using(planned[0].run.store.root, used):
        return _launch(jobs, planned, folder, batch, stop, console)


def _launch(
    jobs: Jobs,
    planned: Sequence[Planned],
    folder: Path,
    batch: int | None,
    stop: Callable[[], str | None],
    console: Console,
) -> Launched:
    with working(console, "checking what is there"):
        left = missing(planned, folder)
    if len(left) > 1 and not stop():
        if jobs.in_process:  # another machine may reach other endpoints: there each run looks by itself
            with working(console, "looking ahead"):
                _look_ahead([one.run for one in left], console)
        prepare([one.run for one in left], folder, console)
    with going_on(console).open():
        tell = _Teller(planned, folder, console, len(left))
        try:
            return _launch_left(jobs, left, folder, batch, stop, console, tell)
        finally:
            tell.end()


def _launch_left(
    jobs: Jobs,
    left: list[Planned],
    folder: Path,
    batch: int | None,
    stop: Callable[[], str | None],
    console: Console,
    tell: _Teller,
) -> Launched:
    size = batch or (1 if jobs.in_process else max(1, len(left)))
    failed: dict[str, str] = {}
    while left:
        if reason := stop():
            tell.notes()
            which = many(len(left), "run is", "runs are")
            console.print(f"{reason}: {which} not started; the same command goes on with them")
            return Launched(failed, reason)
        now = [one for one in left if not _taken(one.run)][:size]
        if not now:
            _await(left, console)
        for one in now if verbose() else ():
            console.rule(tell.name(one), align="left")
        with tell.watching(now if len(now) > 1 else []):
            ends = _launch_batch(jobs, now, folder) if now else []
        for one, ended in zip(now, ends, strict=True):
            if ended.status != "finished":
                failed[one.run.id] = ended.reason or ended.status
                tell.failed(one, ended)
            else:
                tell.finished(one)
        tried = {one.run.id for one in now}
        # another process that works on the study may have finished some of the others
        left = missing([one for one in left if one.run.id not in tried], folder)
        tell.at(len(left))
    tell.notes()
    return Launched(failed, None)


class _Teller:
    """Tells of each run that finished in a line, and at the end what they noted, once for all that noted it.

    Args:
        planned: All of the study's runs.
        folder: The study's.
        console: Where to print.
        left: Runs that are to be made.
    """

    def __init__(self, planned: Sequence[Planned], folder: Path, console: Console, left: int) -> None:
        self._planned, self._folder, self._console, self._left = planned, folder, console, left
        self._pace = Pace(console, f"study {folder.name}", "runs", len(planned), len(planned) - left)
        self._told: set[str] = set()
        self._finished = 0
        self._notes: Counter[str] = Counter()

    def name(self, one: Planned) -> str:
        """Return what a run is called: its place, arm and seed."""
        return f"run {self._planned.index(one) + 1} of {len(self._planned)}: {one.arm}, seed {one.seed}"

    def finished(self, one: Planned) -> None:
        """Tell of a run, once: its place, how it came out, where it lies, and when the others may be done."""
        if one.run.id in self._told:
            return
        record = read_run(self._folder, one.run.id)
        self._finished += 1
        self._ended(one)
        unscored = record.get("unscored", {}).values()  # told by the study's error
        if "config" in record:  # else it cannot be read, which the comparison says
            self._notes.update(note for note in notes_of(record) if note not in unscored)
        value = in_a_line(record.get("metrics", {}), one.run.config.study.metric)
        parts = [f"finished, {value}" if value else "finished", shorten(one.run.folder)]
        if self._left > 0:
            parts.append(", ".join(filter(None, [f"{self._left} left", self._pace.left(self._left)])))
        say(self._console, f"{self.name(one)}: {'; '.join(parts)}")

    def failed(self, one: Planned, ended: Ended) -> None:
        """Tell of a run that failed."""
        self._ended(one)
        self._console.print(f"{one.arm}, seed {one.seed} failed: {ended.reason}; the others go on")

    def at(self, left: int) -> None:
        """Note how many runs are left, some of which another process may have finished."""
        self._left = left
        self._pace.at(len(self._planned) - left)

    @contextmanager
    def watching(self, now: Sequence[Planned]) -> Iterator[None]:
        """Tell of runs that a launcher has at once when each of them finishes, and not when all have."""
        began, ended = time.time(), threading.Event()

        def watch() -> None:
            while not ended.wait(WATCH_SECONDS):
                for one in now:
                    if one.run.id not in self._told and _finished_since(one.run, began):
                        self.finished(one)

        watcher = threading.Thread(target=watch, daemon=True) if now else None
        if watcher:
            watcher.start()
        try:
            yield
        finally:
            ended.set()
            if watcher:
                watcher.join()

    def notes(self) -> None:
        """Tell what the runs noted that a reader of their metrics must know."""
        for note, count in self._notes.items() if not verbose() else ():
            say(self._console, f"note ({count} of {self._finished} runs): {note}")

    def end(self) -> None:
        """Show no longer how far the study is."""
        self._pace.end()

    def _ended(self, one: Planned) -> None:
        self._told.add(one.run.id)
        self.at(self._left - 1)


def _finished_since(run: Run, began: float) -> bool:
    """Say whether a run finished after a time: its record of before says nothing."""
    path = run.folder / RUN_JSON
    with suppress(OSError, UserError):
        return path.stat().st_mtime > began and read_run_file(path)["status"] == "finished"
    return False


def _look_ahead(runs: Sequence[Run], console: Console) -> None:
    """Look ahead once for all runs that need the same; those that will fail do so by themselves, unless all will."""
    alike = {digest([to_json(getattr(run.config, name)) for name in ("judge", "generation", "evaluation")]): run
             for run in reversed(runs)}  # fmt: skip
    failed = []
    for run in alike.values():
        try:
            run.look_ahead()
        except UserError as error:
            failed.append(error)
    if len(failed) == len(alike):
        raise failed[0]
    for reason in failed:
        say(console, f"{reason}\n  the runs that need this will fail, the others go on")


def _launch_batch(jobs: Jobs, now: Sequence[Planned], folder: Path) -> list[Ended]:
    """Launch runs; where the launcher itself fails, such as for a job that was killed, their own records tell."""
    try:
        return jobs.launch([one.overrides for one in now])
    except Exception as error:
        reason = f"the launcher failed: {named_line(error)}"
    while any(_taken(one.run) for one in now):  # it does not wait for the others
        time.sleep(POLL_SECONDS)
    records = [read_run(folder, one.run.id) for one in now]
    return [
        Ended("finished", None)
        if record["status"] == "finished"
        else Ended("failed", first_line(str(record.get("error") or reason)))
        for record in records
    ]


def _await(left: Sequence[Planned], console: Console) -> None:
    """Wait until another process lets go of one of these runs: it finished it, or was stopped."""
    console.print(f"waiting for another process: it has the last {many(len(left), 'run')} in hand")
    while all(_taken(one.run) for one in left):
        time.sleep(POLL_SECONDS)


def _taken(run: Run) -> bool:
    """Say whether another process holds a run at the moment."""
    if not run.folder.is_dir():
        return False
    lock = FileLock(run.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
