"""The metric stream: one JSON object a line, `{"time", "stage", "step", "metrics"}`; a writer and a reader.

A line with `said` beside these is a sentence to the user, not kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.disk import streams
from notus_exp.disk.json_lines import OnDamage, append_line, keep_lines, read_lines

PROGRESS = "progress"
"""Metric that moves a stage's progress bar: the work done, as a share in [0, 1]. Not sent to the tracker."""


class Event(NamedTuple):
    """One line of the stream."""

    time: float
    stage: str
    step: int
    metrics: dict[str, float]
    said: str = ""


class EventWriter:
    """Appends a stage's events to its artifact's file, and to the run's file, which the parent follows.

    Args:
        stage: Name of the stage, written into every event.
        kept: The artifact's `events.jsonl`: kept with the artifact, replayed when it is reused.
        followed: The run's `events.jsonl`, or None; gets progress events too, which are not kept.
    """

    def __init__(self, stage: str, kept: Path, followed: Path | None = None) -> None:
        self.stage = stage
        self._kept = kept
        self._followed = followed
        keep_lines(kept)

    def emit(self, step: int, metrics: dict[str, float]) -> None:
        """Write an event with metrics that are worth keeping. `step` counts what the stage counts."""
        event = Event(time.time(), self.stage, step, metrics)
        _append(self._kept, event)
        if self._followed:
            _append(self._followed, event)

    def progress(self, done: int, total: int, **shown: float) -> None:
        """Move the progress bar to `done` of `total`; `shown` are numbers displayed beside it."""
        if self._followed:
            share = done / total if total else 1.0
            _append(self._followed, Event(time.time(), self.stage, done, {PROGRESS: share, **shown}))

    def mark(self, name: str) -> None:
        """Tell the parent where the stage is; not kept."""
        if self._followed:
            _append(self._followed, Event(time.time(), self.stage, 0, {name: 1.0}))

    def say(self, line: str) -> None:
        """Tell the user something, such as what was damaged; not kept."""
        if self._followed:
            _append(self._followed, Event(time.time(), self.stage, 0, {}, line))
        else:
            print(line, file=streams.err(), flush=True)

    def keep(self, size: int) -> None:
        """Drop kept events after the first `size` bytes, which a resumed stage writes again; replay the others."""
        if self._kept.exists():
            os.truncate(self._kept, size)
        if self._followed:
            replay(self._kept, self._followed)


class NoEvents(EventWriter):
    """Writes nothing: for a process that works beside the one that reports."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def emit(self, step: int, metrics: dict[str, float]) -> None:
        """Do nothing."""

    def progress(self, done: int, total: int, **shown: float) -> None:
        """Do nothing."""

    def mark(self, name: str) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing: the process that reports says the same."""

    def keep(self, size: int) -> None:
        """Do nothing."""


def read(path: Path, on_damage: OnDamage | None = None) -> Iterator[Event]:
    """Yield the complete events of a file, one by one; a half-written last line (after a kill) is left out.

    Args:
        path: The file.
        on_damage: Called for each complete line that is no event; it is left out too.
    """
    for record in read_lines(path, on_damage):
        event = parse(record)
        if event is not None:
            yield event
        elif on_damage:
            on_damage()


def replay(kept: Path, followed: Path, stage: str | None = None) -> int:
    """Append the kept events of an artifact to the stream that the parent follows; return how many are damaged.

    Args:
        kept: The artifact's.
        followed: The run's.
        stage: What it is called in this run, where another may have made it under another name.
    """
    damaged: list[None] = []
    for event in read(kept, lambda: damaged.append(None)):
        _append(followed, event if stage is None else event._replace(stage=stage))
    return len(damaged)


def parse(record: Any) -> Event | None:
    """Return the event that a line of the stream holds; None where it is none."""
    if not isinstance(record, dict):
        return None
    when, stage, step, metrics = (record.get(name) for name in ("time", "stage", "step", "metrics"))
    if not isinstance(metrics, dict) or not all(type(value) in (int, float) for value in metrics.values()):
        return None
    if not isinstance(when, int | float) or type(step) is not int or not isinstance(stage, str):
        return None
    return Event(when, stage, step, metrics, str(record.get("said", "")))


def _append(path: Path, event: Event) -> None:
    append_line(path, _line(event), sync=False)  # an event that a power cut takes is no loss


def _line(event: Event) -> dict[str, Any]:
    """Return what a line of the stream holds: without a sentence where there is none."""
    return {name: value for name, value in event._asdict().items() if name != "said" or value}
