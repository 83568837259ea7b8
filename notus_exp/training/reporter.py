"""A training's logs as events and progress, and its metrics at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from notus_exp.disk.events import EventWriter
from notus_exp.errors import UserError
from notus_exp.training.measures import MEASURES, REFERENCE_POINT
from notus_exp.training.throughput import Meter

MOST_EVENTS = 200
"""Events of training metrics that are written at most; each is a mean over the steps since the one before."""


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Turns the trainer's logs into events and progress, and stops a training whose loss is no longer a number.

    It keeps no state of its own: means are taken over the trainer's log history, which a checkpoint holds, so a resumed
    training reports what an uninterrupted one does.
    """

    def __init__(
        self, events: EventWriter, precision: str, meter: Meter, measures: Mapping[str, str] = MEASURES
    ) -> None:
        self._events = events
        self._precision = precision
        self._meter = meter
        self._measures = measures

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report a step's or an evaluation's metrics."""
        logs, step = kwargs["logs"], state.global_step
        if "loss" in logs:
            self._stop_if_broken(logs, step)
            if state.is_world_process_zero:
                self._report_step(logs, state, args.world_size)
        elif "eval_loss" in logs and state.is_world_process_zero:
            told = _told(logs, self._measures, "eval_")
            self._events.emit(step, {f"validation/{name}": logs[f"eval_{key}"] for name, key in told.items()})

    def _report_step(self, logs: dict[str, float], state: TrainerState, processes: int) -> None:
        step, every = state.global_step, math.ceil(state.max_steps / MOST_EVENTS)
        speed = (
            {}
            if (found := self._meter.tokens_per_second) is None
            else {"tokens_per_second": round(found * processes, 1)}
        )
        accuracy = logs[self._measures["accuracy"]]
        self._events.progress(step, state.max_steps, loss=logs["loss"], accuracy=accuracy, **speed)
        if step % every and step != state.max_steps:
            return
        first = (step - 1) // every * every + 1
        recent = [entry for entry in train_logs(state) if first <= entry["step"] <= step]
        told = _told(logs, self._measures)
        metrics = {f"train/{name}": _mean(entry[key] for entry in recent) for name, key in told.items()}
        metrics["train/learning_rate"] = logs["learning_rate"]
        metrics["train/gradient_norm"] = logs["grad_norm"]
        self._events.emit(step, metrics)

    def _stop_if_broken(self, logs: dict[str, float], step: int) -> None:
        # With float16 an overflowing gradient is usual: the loss scaler skips that step and lowers its scale.
        watched = ("loss",) if self._precision == "float16" else ("loss", "grad_norm")
        for name in watched:
            if not math.isfinite(logs[name]):
                what = {"loss": "loss", "grad_norm": "gradient norm"}[name]
                remedy = "" if self._precision == "float32" else ", or use dpo.precision=float32"
                raise UserError(
                    f"the {what} of step {step} is {logs[name]}: the training broke down",
                    f"lower dpo.learning_rate{remedy}",
                )


def train_logs(state: TrainerState) -> list[dict[str, float]]:
    """Return the logs of the optimiser steps so far, also those before a resume."""
    return [entry for entry in state.log_history if "loss" in entry]


def validation_logs(state: TrainerState) -> list[dict[str, float]]:
    """Return the logs of the evaluations so far, also those before a resume."""
    return [entry for entry in state.log_history if "eval_loss" in entry]


def final_metrics(
    state: TrainerState, measures: Mapping[str, str] = MEASURES, names: Sequence[str] = ("loss", "accuracy", "margin")
) -> dict[str, float]:
    """Return the training's metrics: means over the last tenth of the steps, and those of the last evaluation.

    Args:
        state: At the end.
        measures: Our name -> the trainer's.
        names: Of those that are wanted.
    """
    steps = train_logs(state)
    last = steps[-math.ceil(len(steps) / 10) :]
    metrics = {f"train/{name}": _mean(entry[measures[name]] for entry in last) for name in names}
    evaluations = validation_logs(state)
    if evaluations:
        metrics |= {f"validation/{name}": evaluations[-1][f"eval_{measures[name]}"] for name in names}
    return metrics


def _told(logs: dict[str, float], measures: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """Return what is told of a trainer's logs: our name -> its own."""
    return {**measures} | {name: key for name, key in REFERENCE_POINT.items() if f"{prefix}{key}" in logs}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
