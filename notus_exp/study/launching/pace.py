"""How far a study is: what is finished of all, and the time left by what the finished ones of this command took."""

from __future__ import annotations

import time

from rich.console import Console

from notus_exp.reporting.going_on import going_on
from notus_exp.reporting.tables import lasting
from notus_exp.reporting.texts import cut

WIDEST = 24
"""Characters of a study's name in its line, so that counts and times fit beside it at 80 columns."""


class Pace:
    """A study's own line at the foot of the terminal, and the time left in words for its lines in a log.

    Args:
        console: Where the study is shown.
        what: What it is called there.
        unit: What is counted: runs or trials.
        total: How many there will be.
        finished: How many were finished before.
    """

    def __init__(self, console: Console, what: str, unit: str, total: int, finished: int) -> None:
        self._foot, self._unit, self._total = going_on(console), unit, total
        self._before = self.finished = finished
        self._began = self._last = time.monotonic()
        self._line = self._foot.add(cut(what, WIDEST))
        self._move()

    @property
    def each(self) -> float | None:
        """Seconds from one that finished to the next in the mean; None before one has, when nobody can tell."""
        done = self.finished - self._before
        return (self._last - self._began) / done if done > 0 else None

    def at(self, finished: int) -> None:
        """Note how many are finished now."""
        if finished != self.finished:
            self.finished, self._last = finished, time.monotonic()
            self._move()

    def left(self, count: int | None = None) -> str:
        """Return the time left in words as of when the last one finished, "" where it is not known or nothing is left.

        Args:
            count: How many are left, where that is not the rest of the total.
        """
        count = self._total - self.finished if count is None else count
        return f"about {lasting(self.each * count)}" if self.each is not None and count > 0 else ""

    def end(self) -> None:
        """Take the line away."""
        self._foot.remove(self._line)

    def _left_now(self) -> str:
        """Return the time left in words by the clock, which goes on while none finishes."""
        count = self._total - self.finished
        if self.each is None or count <= 0:
            return ""
        since = time.monotonic() - self._last
        return f"about {lasting(max(self.each * count - since, self.each * (count - 1)))}"

    def _move(self) -> None:
        shown = f"{self.finished} of {self._total} {self._unit}"
        self._foot.move(self._line, self.finished, max(self._total, 1), shown, self._left_now)
