"""What goes on, at the foot of the terminal: a line for each thing, with the time it took and the time left.

There is one such place for a console, whoever adds a line to it. Where there is no terminal, `working` prints a line
now and then; bars that others draw have lines of their own there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from notus_exp.disk import streams
from notus_exp.reporting.tables import lasting
from notus_exp.reporting.texts import cut, in_one_line

LINE_EVERY = 20.0
"""Seconds between lines of what goes on where standard error is no terminal."""
NARROW = 100
"""Columns of a terminal below which the bars are short and show one number."""


WIDEST = 28
"""Characters of a line's name on such a terminal: beside it fit share, both times and a number, at 80 columns."""

Left = Callable[[], str]
"""Returns a time left in words."""


class GoingOn:
    """The lines at the foot of a terminal; without a terminal, or where nothing is to be shown, all of it does nothing.

    Args:
        console: Of the terminal. What is printed on it meanwhile stands above the lines.
    """

    def __init__(self, console: Console) -> None:
        self.narrow = console.width < NARROW
        self._console, self._holders, self._lock = console, 0, threading.RLock()
        self._shown = console.is_terminal and not console.quiet
        self._lines: Progress | None = None
        self._former: TextIO | None = None
        self._beginning = ExitStack()

    @contextmanager
    def open(self) -> Iterator[GoingOn]:
        """Draw as long as this, or another, lasts; lines that nobody removed stay as they were last."""
        self.begun()
        with self._open():
            yield self

    def begin(self, what: str) -> None:
        """Show that something goes on until anything else does, or `begun` is called."""
        self.begun()
        line = self._beginning.enter_context(self._open()).add(what)
        self._beginning.callback(lambda: self.remove(line))

    def begun(self) -> None:
        """Take away what `begin` shows."""
        self._beginning.close()

    @contextmanager
    def _open(self) -> Iterator[GoingOn]:
        with self._lock:
            self._holders += 1
            if self._holders == 1 and self._shown:
                self._begin()
        try:
            yield self
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0 and self._lines is not None:
                    self._end(self._lines)

    def add(self, what: str, total: float | None = None) -> TaskID | None:
        """Add a line; without a total it shows that something moves, and how long already."""
        if self._lines is None:
            return None
        what = cut(in_one_line(what), WIDEST) if self.narrow else in_one_line(what)
        return self._lines.add_task(what, total=total, shown="", left=None)

    def move(
        self, line: TaskID | None, done: float, total: float = 1.0, shown: str = "", left: Left | None = None
    ) -> None:
        """Move a line.

        Args:
            line: Which.
            done: Of `total`.
            total: All there is to do.
            shown: What stands at its end.
            left: Returns the time left in words, "" where it is not known; None for what the speed so far says.
        """
        if self._lines is not None and line is not None:
            self._lines.update(line, completed=done, total=total, shown=in_one_line(shown), left=left)

    def remove(self, line: TaskID | None) -> None:
        """Take a line away."""
        if self._lines is not None and line is not None:
            self._lines.remove_task(line)

    def _begin(self) -> None:
        wide = Column(no_wrap=True)
        self._lines = Progress(
            TextColumn("{task.description:<18}", markup=False, table_column=wide),
            BarColumn(bar_width=8 if self.narrow else 30),
            _Share(table_column=wide),
            _Times(table_column=wide),
            TextColumn("{task.fields[shown]}", markup=False, table_column=Column(no_wrap=True, overflow="crop")),
            console=self._console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._lines.start()
        self._former = streams.err()
        if self._former.isatty():  # what is told by other ways than the console stands above the lines as well
            streams.set_err(cast(TextIO, FileProxy(self._console, self._former)))

    def _end(self, lines: Progress) -> None:
        if self._former is not None:
            streams.err().flush()
            streams.set_err(self._former)
        self._lines = self._former = None
        lines.live.transient = not lines.tasks
        lines.stop()


class _Share(ProgressColumn):
    """How much is done, where that is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.percentage:3.0f}%")


class _Times(ProgressColumn):
    """The time that something took, and the time left where it can be told."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        took = lasting(task.finished_time if task.finished and task.finished_time else task.elapsed or 0.0)
        tell: Left | None = task.fields["left"]
        left = tell() if tell else ""
        if tell is None and not task.finished and task.completed and task.total:
            by_mean = (task.elapsed or 0.0) * (task.total / task.completed - 1)
            left = lasting(by_mean if task.time_remaining is None else task.time_remaining)
        return Text(took if task.finished or not left else f"{took}, {left} left")


_PLACE = "_notus_exp_going_on"


def going_on(console: Console) -> GoingOn:
    """Return the foot of a console, the same for all who ask."""
    if not hasattr(console, _PLACE):
        setattr(console, _PLACE, GoingOn(console))
    foot: GoingOn = getattr(console, _PLACE)
    return foot


@contextmanager
def working(console: Console, what: str) -> Iterator[Callable[[float, float], None]]:
    """Show that something goes on until it is done; then nothing of it is left.

    Args:
        console: Where.
        what: In a few words.

    Yields:
        Takes what is done, and of how much, where that is known.
    """
    began, share = time.monotonic(), [0.0]
    with going_on(console).open() as foot:
        line, ended = foot.add(what), threading.Event()

        def move(done: float, total: float) -> None:
            share[0] = done / total if total else 1.0
            foot.move(line, share[0])

        def tell() -> None:
            while not ended.wait(LINE_EVERY):
                known = f", {share[0]:.0%}" if share[0] else ""
                console.print(f"{what}: {lasting(time.monotonic() - began)}{known}", soft_wrap=True)

        teller = None if console.is_terminal or console.quiet else threading.Thread(target=tell, daemon=True)
        if teller:
            teller.start()
        try:
            yield move
        finally:
            ended.set()
            if teller:
                teller.join()
            foot.remove(line)
