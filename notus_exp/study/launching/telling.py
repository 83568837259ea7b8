"""What is told of a study's runs while they are made, and what they noted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from notus_exp.contracts.run_file import read_run_file
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.outputs import read_run
from notus_exp.errors import UserError
from notus_exp.reporting.console import say, shorten, verbose
from notus_exp.run.display import in_a_line
from notus_exp.run.pipeline import Run
from notus_exp.run.record import notes_of
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.launching.pace import Pace
from notus_exp.study.launching.planned import Planned

WATCH_SECONDS = 2.0
"""How often runs that a launcher has at once are looked at."""


class RunTeller:
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
                    if one.run.id not in self._told and finished_since(one.run, began):
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


def finished_since(run: Run, began: float) -> bool:
    """Say whether a run finished after a time: its record of before says nothing."""
    path = run.folder / RUN_JSON
    with suppress(OSError, UserError):
        return path.stat().st_mtime > began and read_run_file(path)["status"] == "finished"
    return False
