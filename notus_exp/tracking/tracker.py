"""What a run tells its tracker, whichever that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from notus_exp.contracts.run_file import RoundRecord, RunEstimate, RunFile, StageRecord
from notus_exp.disk.events import Event

FINISHED, EXPIRED = "finished", "expired"
"""The status of a run that came to its end, and of one whose trial was asked again; any but the first is a failure."""


class Membership(NamedTuple):
    """Where a run belongs.

    Attributes:
        study: Name of the study.
        arm: Its arm there, or its trial's name.
        seed: Its seed.
        trial: Number of its trial; None in a study of arms.
        candidate: What tuning tries with it for its arm, in words; "" for a run that is compared.
        metrics: What the study is about: these metrics are among the headline ones, and the first is the study's own.
    """

    study: str
    arm: str
    seed: int
    trial: int | None = None
    candidate: str = ""
    metrics: tuple[str, ...] = ()


def of_trial(study: str, number: int, seed: int, metrics: Sequence[str]) -> Membership:
    """Return the place of a trial's run; `metrics` as `searched_metrics`."""
    return Membership(study, f"trial_{number}", seed, number, metrics=tuple(metrics))


def candidate_of(values: Mapping[str, Any]) -> str:
    """Return what tuning tries, setting -> value, in words that do not depend on how a number was written."""
    return " ".join(f"{key}={_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    """Return a value as text, whether it is the value or how an override wrote it."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_plain, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return f"{float(value):.12g}"
    except (TypeError, ValueError):
        return str(value).strip("'")


class Ending(NamedTuple):
    """How a run ended and what there is of it.

    Attributes:
        status: As in run.json: finished, failed, interrupted or pruned; or `EXPIRED`.
        metrics: As in run.json; empty where the evaluation was not reached.
        samples: Sample answers, one dict a prompt.
        stages: As in run.json, by node name.
        error: Why it did not finish.
        rounds: Of a run of several rounds, as in run.json.
    """

    status: str
    metrics: Mapping[str, RunEstimate]
    samples: Sequence[Mapping[str, Any]]
    stages: Mapping[str, StageRecord]
    error: str | None = None
    rounds: Sequence[RoundRecord] = ()

    @classmethod
    def of(cls, run: RunFile, samples: Sequence[Mapping[str, Any]]) -> Ending:
        """Return what a run.json says of its run's end."""
        stages, rounds = run.get("stages", {}), run.get("rounds", [])
        return cls(run["status"], run.get("metrics", {}), samples, stages, run.get("error"), rounds)


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
