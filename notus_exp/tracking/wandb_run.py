"""One run of the pipeline as a Weights & Biases run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from notus_exp.config.schema import Tracking
from notus_exp.disk.events import Event
from notus_exp.reporting.texts import cut
from notus_exp.tracking.opening import NAME_LENGTH, Label, conclude, open_run
from notus_exp.tracking.products import log_products
from notus_exp.tracking.tracker import FINISHED, Ending, Membership, NoTracker, Tracker
from notus_exp.tracking.wandb_tables import table

JOB_TYPE = "run"


class WandbTracker:
    """A W&B run that is being filled.

    Each stage has its own step axis, `<stage>/step`, so that a resumed or reused stage's curve is complete. Every
    attempt of a run is a W&B run of its own with the same name: one that was killed says so by having no `status`.

    Args:
        run: The open W&B run.
        artifacts: Which products are kept as W&B artifacts.
        warn: Told what W&B did not take.
    """

    def __init__(self, run: Any, artifacts: list[str], warn: Callable[[str], None]) -> None:
        self._run, self._artifacts, self._warn = run, artifacts, warn
        self._stages: set[str] = set()

    def log(self, event: Event) -> None:
        """Log an event's metrics at its stage's step."""
        if event.stage not in self._stages:
            self._stages.add(event.stage)
            self._run.define_metric(f"{event.stage}/step", hidden=True)
            self._run.define_metric(f"{event.stage}/*", step_metric=f"{event.stage}/step")
        values = {f"{event.stage}/{name}": value for name, value in event.metrics.items()}
        self._run.log({f"{event.stage}/step": event.step, **values})

    def finish(self, ending: Ending) -> None:
        """Put status and metrics with their intervals into the summary, add samples and artifacts, close the run."""
        conclude(self._run, lambda: self._tell(ending), self._warn, failed=ending.status != FINISHED)

    def _tell(self, ending: Ending) -> None:
        self._run.summary["status"] = ending.status
        for name, estimate in ending.metrics.items():
            self._run.summary[name] = estimate["value"]
            for part in ("low", "high", "n"):
                self._run.summary[f"{name}/{part}"] = estimate[part]
        if ending.samples:
            columns = list(ending.samples[0])
            rows = [[str(sample[column]) for column in columns] for sample in ending.samples]
            self._run.log({"samples": table(columns, rows)})
        if ending.status == FINISHED:
            log_products(self._run, ending.stages, self._artifacts)


def open_tracker(
    tracking: Tracking,
    name: str,
    tags: list[str],
    config: dict[str, Any],
    folder: Path,
    warn: Callable[[str], None],
    member: Membership | None = None,
) -> Tracker:
    """Open the tracker that the config asks for.

    Args:
        tracking: Where metrics go.
        name: What a run that belongs to no study is called.
        tags: One per choice.
        config: The nested config; credentials in URLs are left out of what is sent.
        folder: The run's folder, where an offline run is kept.
        warn: Told what W&B refuses where the run can go on.
        member: The run's place in a study: it gives the run its name, two tags and, unless `tracking.group` says
            otherwise, its group.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    if tracking.name == "none":
        return NoTracker()
    group = tracking.group
    if member:
        group = group or member.study
        name = arm_name(member)
        tags = [*tags, f"study={member.study}", f"arm={member.arm}"]
    label = Label(name, group, JOB_TYPE, [*tags, *tracking.tags], config)
    return WandbTracker(open_run(tracking, label, folder, warn), tracking.artifacts, warn)


def arm_name(member: Membership) -> str:
    """Return the name of an arm's run; a long arm is cut so that the seed stays."""
    seed = f"-s{member.seed}"
    return cut(member.arm, NAME_LENGTH - len(seed)) + seed
