"""Where metrics go while a run goes on: Weights & Biases, or nowhere. The parent process alone owns the tracker."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from notus_exp.errors import UserError
from notus_exp.events import Event
from notus_exp.schema import Tracking

INIT_SECONDS = 30.0
"""How long W&B's server has to answer before the run goes on without it."""


class Tracker(Protocol):
    """What a run tells its tracker."""

    def log(self, event: Event) -> None:
        """Take one event of the stream."""

    def finish(self, metrics: dict[str, dict[str, Any]], samples: list[dict[str, Any]], failed: bool) -> None:
        """Take the final metrics (name -> value, low, high, n) and sample answers, and close."""


class NoTracker:
    """Tracks nothing: events.jsonl and run.json hold everything."""

    def log(self, event: Event) -> None:
        """Do nothing."""

    def finish(self, metrics: dict[str, dict[str, Any]], samples: list[dict[str, Any]], failed: bool) -> None:
        """Do nothing."""


class WandbTracker:
    """A Weights & Biases run: online with an account, else offline in the run's folder, to be sent with `wandb sync`.

    Each stage has its own step axis, `<stage>/step`, so that a resumed or reused stage's curve is complete.
    """

    def __init__(
        self, tracking: Tracking, mode: Any, name: str, tags: list[str], config: dict[str, Any], folder: Path
    ) -> None:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            init_timeout=INIT_SECONDS,
        )
        self._wandb = wandb
        self._run = wandb.init(
            project=tracking.project,
            entity=tracking.entity,
            group=tracking.group,
            name=name,
            tags=tags,
            config=config,
            dir=str(folder),
            mode=mode,
            settings=settings,
        )
        self._stages: set[str] = set()

    def log(self, event: Event) -> None:
        """Log an event's metrics at its stage's step."""
        if event.stage not in self._stages:
            self._stages.add(event.stage)
            self._run.define_metric(f"{event.stage}/step", hidden=True)
            self._run.define_metric(f"{event.stage}/*", step_metric=f"{event.stage}/step")
        values = {f"{event.stage}/{name}": value for name, value in event.metrics.items()}
        self._run.log({f"{event.stage}/step": event.step, **values})

    def finish(self, metrics: dict[str, dict[str, Any]], samples: list[dict[str, Any]], failed: bool) -> None:
        """Put the metrics with their intervals into the summary, the samples into a table, and close the run."""
        for name, estimate in metrics.items():
            self._run.summary[name] = estimate["value"]
            for part in ("low", "high", "n"):
                self._run.summary[f"{name}/{part}"] = estimate[part]
        if samples:
            columns = list(samples[0])
            rows = [[str(sample[column]) for column in columns] for sample in samples]
            self._run.log({"samples": self._wandb.Table(columns=columns, data=rows)})
        self._run.finish(exit_code=1 if failed else 0)


def wandb_mode(mode: str) -> Any:
    """Return W&B's mode: `auto` is WANDB_MODE's, else online where the environment holds a key, else offline."""
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def open_tracker(
    tracking: Tracking,
    name: str,
    tags: list[str],
    config: dict[str, Any],
    folder: Path,
    warn: Callable[[str], None],
) -> WandbTracker | NoTracker:
    """Open the tracker that the config asks for.

    With `tracking.mode=auto` a server that does not answer, or refuses the key, is warned of and the run kept offline.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    if tracking.name == "none":
        return NoTracker()
    from wandb.errors import Error

    tags = [*tags, *tracking.tags]
    mode = wandb_mode(tracking.mode)
    try:
        return WandbTracker(tracking, mode, name, tags, config, folder)
    except (Error, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if tracking.mode != "auto" or mode != "online":
            hint = "mend it, or use tracking.mode=offline or tracking=none"
            raise UserError(f"W&B cannot open the run: {reason}", hint) from error
        warn(f"W&B cannot be used online ({reason}); the run is kept offline, send it later with `wandb sync`")
        return WandbTracker(tracking, "offline", name, tags, config, folder)
