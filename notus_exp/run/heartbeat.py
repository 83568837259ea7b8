"""Signs of life of a worker's process: that it runs at all, and that what it does goes on."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

MOST_SECONDS, LEAST_SECONDS = 5.0, 0.1
"""Between two beats."""
BEATS_OF_WATCHDOG = 20
"""Beats at least in the time after which the watchdog ends a run."""


class Beat(NamedTuple):
    """What a process says of itself, in a file of its own.

    Attributes:
        rank: Its number among the processes of its launch.
        pid: Its process id on `host`.
        host: Name of its machine.
        beats: How often it has said something.
        moved: How often its main thread was elsewhere than before, or does what may wait for long.
    """

    rank: int
    pid: int
    host: str
    beats: int
    moved: int


class Heartbeat:
    """Writes a process's beats from a thread, which does not run where the process is stopped or killed.

    A process that waits for others within one call, such as a collective operation of torch, does not move: its main
    thread is where it was. Where it may rightly wait for long, as for an endpoint or a lock, it is said to move.

    Args:
        folder: Where the file goes.
        rank: Number of this process.
        watchdog: Seconds without movement after which the run is ended; None never.
    """

    def __init__(self, folder: Path, rank: int, watchdog: float | None) -> None:
        self._beat = Beat(rank, os.getpid(), socket.gethostname(), 0, 0)
        self._seconds = min(MOST_SECONDS, max(LEAST_SECONDS, (watchdog or MOST_SECONDS) / BEATS_OF_WATCHDOG))
        self._main = threading.main_thread().ident
        self._place: list[tuple[int, int]] = []
        self._may_wait = rank == 0  # the others wait for process 0, and it is looked at
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(_place(folder, rank), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with suppress(OSError):  # where the disk has no locks, `lives` says no
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write()
        threading.Thread(target=self._run, daemon=True).start()

    @contextmanager
    def must_move(self) -> Iterator[None]:
        """Look at the main thread within the block: what runs there never stands still for long."""
        may_wait, self._may_wait = self._may_wait, False
        try:
            yield
        finally:
            self._may_wait = may_wait

    def _run(self) -> None:
        while True:
            threading.Event().wait(self._seconds)
            place = _standing_of(sys._current_frames().get(self._main or 0))
            moved = self._may_wait or place != self._place
            self._place = place
            self._beat = self._beat._replace(beats=self._beat.beats + 1, moved=self._beat.moved + moved)
            self._write()

    def _write(self) -> None:
        line = json.dumps(self._beat._asdict()) + "\n"
        with suppress(OSError):  # a full disk is what the stage meets too
            os.pwrite(self._file, line.encode(), 0)  # it never becomes shorter


def _standing_of(frame: FrameType | None) -> list[tuple[int, int]]:
    """Return where a thread is: each of its frames, and the instruction there."""
    place = []
    while frame is not None:
        place.append((id(frame), frame.f_lasti))
        frame = frame.f_back
    return place


def read_beats(folder: Path) -> list[Beat]:
    """Return what the processes of a worker said last, by their numbers; what is half-written is left out."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Beat(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found)


def lives(beat: Beat, folder: Path) -> bool:
    """Say whether a process of this machine is still there: it holds a lock on its file as long as it lives."""
    try:
        with _place(folder, beat.rank).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _place(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.json"
