"""The metric stream: one JSON object a line, `{"time", "stage", "step", "metrics"}`; a writer and a reader."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PROGRESS = "progress"
"""Metric that moves a stage's progress bar: the work done, as a share in [0, 1]. Not sent to the tracker."""


class Event(NamedTuple):
    """One line of the stream."""

    time: float
    stage: str
    step: int
    metrics: dict[str, float]


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

    def emit(self, step: int, metrics: dict[str, float]) -> None:
        """Write an event with metrics that are worth keeping. `step` counts what the stage counts."""
        line = _line(Event(time.time(), self.stage, step, metrics))
        _append(self._kept, line)
        if self._followed:
            _append(self._followed, line)

    def progress(self, done: int, total: int, **shown: float) -> None:
        """Move the progress bar to `done` of `total`; `shown` are numbers displayed beside it."""
        if self._followed:
            share = done / total if total else 1.0
            _append(self._followed, _line(Event(time.time(), self.stage, done, {PROGRESS: share, **shown})))

    def mark(self, name: str) -> None:
        """Tell the parent where the stage is; not kept."""
        if self._followed:
            _append(self._followed, _line(Event(time.time(), self.stage, 0, {name: 1.0})))

    def forget_after(self, step: int) -> None:
        """Drop kept events later than `step`, which a stage resumed there writes again; replay the earlier ones."""
        kept = [event for event in read(self._kept) if event.step <= step]
        self._kept.write_text("".join(_line(event) for event in kept), encoding="utf-8")
        if self._followed:
            replay(self._kept, self._followed)


def read(path: Path) -> Iterator[Event]:
    """Yield the complete events of a file; a half-written last line (after a kill) is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n"):
                yield parse(line)


def replay(kept: Path, followed: Path) -> None:
    """Append the kept events of an artifact to the stream that the parent follows."""
    for event in read(kept):
        _append(followed, _line(event))


def parse(line: str) -> Event:
    """Parse one complete line of the stream."""
    record: dict[str, Any] = json.loads(line)
    return Event(record["time"], record["stage"], record["step"], record["metrics"])


def _line(event: Event) -> str:
    return json.dumps(event._asdict(), allow_nan=True) + "\n"


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line)
