"""What a run tells its tracker, whichever that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from notus_exp.contracts.run_file import RunEstimate, StageRecord
from notus_exp.disk.events import Event

FINISHED = "finished"
"""The status of a run that came to its end; any other is a failure of some kind."""


class Membership(NamedTuple):
    """Where a run belongs: its study, its arm there and its seed."""

    study: str
    arm: str
    seed: int


class Ending(NamedTuple):
    """How a run ended and what there is of it.

    Attributes:
        status: As in run.json: finished, failed, interrupted or pruned.
        metrics: As in run.json; empty where the evaluation was not reached.
        samples: Sample answers, one dict a prompt.
        stages: As in run.json, by node name.
    """

    status: str
    metrics: Mapping[str, RunEstimate]
    samples: Sequence[Mapping[str, Any]]
    stages: Mapping[str, StageRecord]


class Tracker(Protocol):
    """What a run tells its tracker."""

    def log(self, event: Event) -> None:
        """Take one event of the stream."""

    def finish(self, ending: Ending) -> None:
        """Take how the run ended, and close."""


class NoTracker:
    """Tracks nothing: events.jsonl and run.json hold everything."""

    def log(self, event: Event) -> None:
        """Do nothing."""

    def finish(self, ending: Ending) -> None:
        """Do nothing."""
