"""What the terminal shows: a progress bar per stage, the plan, and the table at the end. All on standard error."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import NamedTuple

from rich.console import Console
from rich.progress import TaskID

from notus_exp.contracts.comparison_file import ALIKE, HIGHER, LOWER
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.contracts.run_file import RunEstimate
from notus_exp.disk.events import PROGRESS, Event
from notus_exp.evaluation.metrics import headlines
from notus_exp.reporting.going_on import LINE_EVERY, going_on
from notus_exp.reporting.tables import Table, lasting, number, with_span
from notus_exp.run.execution import FINISHED, STARTED, WAITING

MOST_BEFORE_END = 0.99
"""The share that a stage shows at most before it has ended: what it made is still to be written and hashed."""
BRIEF_EVERY = 300.0
"""Seconds between lines of a running stage of a study's run where standard error is no terminal."""


class Display:
    """Follows the event stream: live bars in a terminal, plain lines in a log.

    Args:
        console: Where to print.
        brief: The run is one of a study's, which tells how it ended: bars go when they are full, and stages that begin,
            are reused or end have no line.
    """

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        self.console, self._brief = console, brief
        self._foot, self._until_end = going_on(console), ExitStack()
        self._bars: dict[str, TaskID | None] = {}
        self._began: dict[str, float] = {}
        self._last_line: dict[str, float] = {}
        self._last_shown: dict[str, str] = {}
        self._awaited: TaskID | None = None

    def __enter__(self) -> Display:
        """Begin to draw, where there is a terminal."""
        self._until_end.enter_context(self._foot.open())
        return self

    def __exit__(self, *error: object) -> None:
        """Stop drawing; what was drawn stays, but for bars of a study's run and what was waited for."""
        self._arrived()
        for bar in self._bars.values() if self._brief else ():
            self._foot.remove(bar)
        self._until_end.close()

    def show(self, event: Event) -> None:
        """Take one event of the stream."""
        if event.said:
            self.console.print(f"[{event.stage}] {event.said}", markup=False, highlight=False, soft_wrap=True)
        elif STARTED in event.metrics:
            self._begin(event.stage)
        elif WAITING in event.metrics:
            self.console.print(f"[{event.stage}] waiting for another run that makes it")
        elif FINISHED in event.metrics:
            self._move(event.stage, 1.0, self._last_shown.get(event.stage, ""), force=not self._brief)
            if self._brief:
                self._foot.remove(self._bars.pop(event.stage, None))
        elif PROGRESS in event.metrics:
            numbers = [
                f"{name.replace('_per_second', '/s')} {number(value, None)}"
                for name, value in event.metrics.items()
                if name != PROGRESS
            ]
            self._last_shown[event.stage] = "  ".join(numbers[:1] if self._foot.narrow else numbers)
            self._move(event.stage, min(event.metrics[PROGRESS], MOST_BEFORE_END), self._last_shown[event.stage])

    def reused(self, stage: str, seconds: float) -> None:
        """Say that a stage was not run, and what it had cost."""
        if not self._brief:
            self.console.print(f"[{stage}] reused (took {seconds:.0f} s when it was made)")

    def await_start(self, what: str) -> None:
        """Show, in a terminal, that something goes on until the next stage begins."""
        self._arrived()
        self._awaited = self._foot.add(what)

    def _arrived(self) -> None:
        self._foot.remove(self._awaited)
        self._awaited = None

    def _begin(self, stage: str) -> None:
        self._arrived()
        self._foot.remove(self._bars.pop(stage, None))  # it is made anew
        self._bars[stage] = self._foot.add(stage)
        self._began[stage] = self._last_line[stage] = time.monotonic()
        if not self.console.is_terminal and not self._brief:
            self.console.print(f"[{stage}] started")

    def _move(self, stage: str, share: float, shown: str, force: bool = False) -> None:
        if stage not in self._bars:
            return
        if share > 0:  # one that has only begun shows that something moves
            self._foot.move(self._bars[stage], share, shown=shown)
        every = BRIEF_EVERY if self._brief else LINE_EVERY
        due = force or time.monotonic() - self._last_line[stage] >= every
        if due and not self.console.is_terminal:
            now = self._last_line[stage] = time.monotonic()
            left = f", about {lasting((now - self._began[stage]) * (1 / share - 1))} left" if 0 < share < 1 else ""
            self.console.print(f"[{stage}] {share:4.0%}{left}  {shown}".rstrip())


class StageRow(NamedTuple):
    """A line of the table of stages.

    Attributes:
        seconds: None where the stage has not run.
        expected: What it may take then, as text.
    """

    name: str
    state: str
    seconds: float | None
    path: str
    expected: str = ""


def stages_table(rows: list[StageRow]) -> Table:
    """Return a table of the run's stages."""
    cells = [
        [row.name, row.state, row.expected if row.seconds is None else number(row.seconds, 1), row.path] for row in rows
    ]
    return Table("Stages", ["stage", "state", "seconds", "where"], cells, left=("state", "where"))


def metrics_table(metrics: dict[str, RunEstimate], *, every: bool = False) -> Table:
    """Return base, tuned policy and their paired difference for the headline metrics; run.json has them all.

    Args:
        metrics: By name, those of the base model and the differences among them.
        every: All metrics, the headline metrics first.
    """
    rows = []
    others = [name for name in metrics if not name.startswith(("base/", "difference/"))] if every else []
    for name in dict.fromkeys([*headlines(metrics), *others]):
        difference = metrics.get(f"difference/{name}")
        rows.append(
            [
                name,
                with_span(metrics.get(f"base/{name}")),
                with_span(metrics[name]),
                with_span(difference, sign=True),
                str(metrics[name]["n"]),
                _verdict(difference),
            ]
        )
    columns = ["metric", "base", "policy", "paired difference", "n", "verdict"]
    return Table("Metrics: mean [95 % interval]", columns, rows, left=("verdict",))


def in_a_line(metrics: dict[str, RunEstimate], primary: str) -> str:
    """Return the value of a study's primary metric, or of its first headline metric; "" where there is neither."""
    name = primary if primary in metrics else next(iter(headlines(metrics)), "")
    return f"{name} {with_span(metrics[name])}" if name else ""


def _verdict(difference: MeasuredValue | None) -> str:
    if difference is None or difference["low"] is None or difference["high"] is None:
        return ""
    if difference["low"] > 0:
        return HIGHER
    if difference["high"] < 0:
        return LOWER
    return ALIKE
