"""Ends a worker of which nothing is heard: a process hangs, or all of them wait for each other."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from notus_exp.run.heartbeat import BEATS_OF_WATCHDOG, lives, read_beats

START_SECONDS = 600.0
"""How long a worker may take at least until its first process has begun: libraries load, and nodes find each other."""
LONGEST_LOOK = 5.0
"""Seconds that count at most between two looks: where this process itself did not run, nor perhaps did the others."""
SILENT_BEATS = 5
"""Beats that a process misses before it is said not to answer."""


class Watchdog:
    """Counts the seconds since a worker's last sign of life.

    A sign is an event of the stream, or that the main thread of any process went on.

    Args:
        folder: Of the processes' beats.
        events: The stream of events, which grows.
        seconds: How long may pass without a sign.
        now: Seconds of a clock that only goes on.
    """

    def __init__(self, folder: Path, events: Path, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._events, self._seconds, self._now = folder, events, seconds, now
        self._looked, self._quiet = now(), 0.0
        self._signs: tuple[int, dict[int, int]] = (0, {})
        self._beats: dict[int, tuple[int, float]] = {}

    def look(self) -> str | None:
        """Return what is wrong where nothing was heard for too long, else None; to be called every second or so."""
        now, beats = self._now(), read_beats(self._folder)
        passed, self._looked = min(now - self._looked, LONGEST_LOOK), now
        signs = (_size(self._events), {beat.rank: beat.moved for beat in beats})
        self._quiet = 0.0 if signs != self._signs else self._quiet + passed
        self._signs = signs
        for beat in beats:
            count, silent = self._beats.get(beat.rank, (-1, 0.0))
            self._beats[beat.rank] = (beat.beats, 0.0 if beat.beats != count else silent + passed)
        longest = max([self._quiet, *(silent for _, silent in self._beats.values())])
        allowed = self._seconds if self._beats else max(self._seconds, START_SECONDS)
        return self._said() if longest > allowed else None

    def _said(self) -> str:
        least = self._seconds * SILENT_BEATS / BEATS_OF_WATCHDOG
        silent = [rank for rank, (_, seconds) in sorted(self._beats.items()) if seconds > least]
        if not self._beats:
            return "no process of it has begun"
        if silent and len(self._beats) > 1:
            named = ", ".join(map(str, silent))
            return f"process {named} of {len(self._beats)} does not answer, and the others wait for it"
        if silent:
            return "its process does not answer"
        return "its process stands still" if len(self._beats) == 1 else "its processes wait for each other"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def end_processes(folder: Path, seconds: float) -> None:
    """Kill those processes of a worker on this machine that have not ended after so many seconds by themselves.

    Args:
        folder: Of their beats.
        seconds: How long to wait for them first, and at most after they were killed.
    """
    host = socket.gethostname()
    left = [beat for beat in read_beats(folder) if beat.host == host]
    for kill in (False, True):
        ends = time.monotonic() + seconds
        while (left := [beat for beat in left if lives(beat, folder)]) and time.monotonic() < ends:
            if kill:
                for beat in left:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(beat.pid, signal.SIGKILL)
            time.sleep(0.05)
