"""A study's runs launched in batches until all are done, fail or the budget is spent, beside other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from notus_exp.disk.hashing import digest
from notus_exp.disk.in_use import using
from notus_exp.disk.outputs import NOT_STARTED, read_run, run_json
from notus_exp.errors import UserError, first_line
from notus_exp.reporting.console import say, verbose
from notus_exp.reporting.going_on import going_on, working
from notus_exp.reporting.texts import many
from notus_exp.run.pipeline import Run
from notus_exp.stages.settings import to_json
from notus_exp.study.launching.jobs import Ended, Jobs
from notus_exp.study.launching.launchers import reason_of
from notus_exp.study.launching.planned import Planned, missing
from notus_exp.study.launching.prepare import prepare
from notus_exp.study.launching.telling import RunTeller

POLL_SECONDS = 0.5
"""How often a process looks whether another one has let go of a run."""


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
    _known: dict[str, tuple[int, float]] = field(default_factory=dict)  # run -> when its run.json was written, its cost

    def spent(self, ids: Iterable[str]) -> float:
        """Return what the judges of these runs have cost, in USD; what was read before is read again if it changed."""
        return sum(self._of_run(one) for one in {*ids})

    def _of_run(self, run: str) -> float:
        try:
            written = run_json(self.folder, run).stat().st_mtime_ns
        except FileNotFoundError:
            return 0.0
        if self._known.get(run, (None,))[0] != written:
            content = read_run(self.folder, run)
            self._known[run] = written, content["costs"].get("judge_usd") or 0.0 if "costs" in content else 0.0
        return self._known[run][1]

    def exhausted(self, ids: Iterable[str], elsewhere: float = 0.0) -> str | None:
        """Return in words why no further run may start, else None.

        Args:
            ids: Runs of the study, for what their judges have cost.
            elsewhere: What those of runs cost that other machines have, in USD.
        """
        hours = (time.monotonic() - self.started) / 3600
        if self.hours is not None and hours >= self.hours:
            return f"study.max_hours={self.hours:g} is over"
        if self.usd is not None and (usd := self.spent(ids) + elsewhere) >= self.usd:
            return f"study.max_cost={self.usd:g} is spent ({usd:.2f} USD)"
        return None


def launch(
    jobs: Jobs,
    planned: Sequence[Planned],
    folder: Path,
    *,
    batch: int | None,
    stop: Callable[[], str | None],
    console: Console,
    curated: Callable[[], None] | None = None,
) -> Launched:
    """Run what is missing, shared stages first, and tell how that went; meanwhile nothing of it is pruned.

    Args:
        jobs: Composes and launches.
        planned: The runs.
        folder: The study's.
        batch: Runs handed to the launcher at once; None: 1 with the basic launcher, else all.
        stop: Says between batches why no further run may start, else None.
        console: Where progress is shown.
        curated: Asked when all arms are curated, before anything is trained, where runs are left; what it raises ends
            the study.

    Raises:
        UserError: What all of the runs need is not there; nothing was made. Or `curated` raised it.
    """
    if not planned:
        return Launched({}, None)
    used = (name for one in planned for node in one.run.nodes for name in node.folders)
    with using(planned[0].run.store.root, used):
        return _launch(jobs, planned, folder, batch, stop, console, curated)


def _launch(
    jobs: Jobs,
    planned: Sequence[Planned],
    folder: Path,
    batch: int | None,
    stop: Callable[[], str | None],
    console: Console,
    curated: Callable[[], None] | None,
) -> Launched:
    with working(console, "checking what is there"):
        left = _each_once(missing(planned, folder))
    if (len(left) > 1 or (left and curated)) and not stop():
        if jobs.in_process:  # another machine may reach other endpoints: there each run looks by itself
            with working(console, "looking ahead"):
                _look_ahead([one.run for one in left], console)
        prepare([one.run for one in left], folder, console, *filter(None, [curated]))
    with going_on(console).open():
        tell = RunTeller(planned, folder, console, len(left))
        try:
            return _launch_left(jobs, left, folder, batch, stop, console, tell)
        finally:
            tell.end()


def _each_once(planned: Sequence[Planned]) -> list[Planned]:
    """Return each run once: arms that differ in what comes after the last stage have one run."""
    first: dict[str, Planned] = {}
    for one in planned:
        first.setdefault(one.run.id, one)
    return list(first.values())


def _launch_left(
    jobs: Jobs,
    left: list[Planned],
    folder: Path,
    batch: int | None,
    stop: Callable[[], str | None],
    console: Console,
    tell: RunTeller,
) -> Launched:
    size = batch or (1 if jobs.in_process else max(1, len(left)))
    failed: dict[str, str] = {}
    while left:
        if reason := stop():
            tell.notes()
            which = many(len(left), "run is", "runs are")
            console.print(f"{reason}: {which} not started; the same command goes on with them")
            return Launched(failed, reason)
        now, left = _next(left, size, folder)
        if left and not now:
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
        left = [one for one in left if one.run.id not in tried]
        tell.at(len(left))
    tell.notes()
    return Launched(failed, None)


def _next(left: Sequence[Planned], size: int, folder: Path) -> tuple[list[Planned], list[Planned]]:
    """Return the first runs that nobody has in hand, and what is left with them.

    Another process that works on the study may have finished some meanwhile. Whether one did is looked at when it is
    that run's turn: to look at all before each would take a time that grows with the square of their number.
    """
    now: list[Planned] = []
    finished: set[str] = set()
    for one in left:
        if len(now) == size:
            break
        if _taken(one.run):
            continue
        if missing([one], folder):
            now.append(one)
        else:
            finished.add(one.run.id)
    return now, [one for one in left if one.run.id not in finished]


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
    """Launch runs; where the launcher itself fails, such as at a node that is lost, their own records tell."""
    try:
        ends = jobs.launch([one.overrides for one in now])
        return [_seen(ended, one.run, folder) for one, ended in zip(now, ends, strict=True)]
    except Exception as error:
        reason = f"the launcher failed: {reason_of(error)}"
    while any(_taken(one.run) for one in now):  # it does not wait for the others
        time.sleep(POLL_SECONDS)
    records = [read_run(folder, one.run.id) for one in now]
    return [
        Ended("finished", None)
        if record["status"] == "finished"
        else Ended("failed", first_line(str(record.get("error") or reason)))
        for record in records
    ]


def _seen(ended: Ended, run: Run, folder: Path) -> Ended:
    """Return how a run ended, seen from here: where one that finished lies elsewhere, the study does not have it."""
    if ended.status == "finished" and read_run(folder, run.id)["status"] == NOT_STARTED:
        reason = f"it finished, but is not in {run.folder}: all machines of a launcher must share that folder"
        return Ended("failed", reason)
    return ended


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
