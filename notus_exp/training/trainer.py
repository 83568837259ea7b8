"""TRL's DPOTrainer on pairs that are tokenised already and whose reference log-probs are known, and its reporting.

The subclass takes datasets as they are, averages losses and metrics over pairs, so that micro-batches and accumulation
cannot move a result, spends no time on the prompts' logits, marks checkpoints as complete, and keeps no pickle.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import trl.trainer.utils as trl_utils
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import DPOTrainer

from notus_exp.disk.events import EventWriter
from notus_exp.errors import UserError
from notus_exp.training.checkpoints import UNSAFE, CheckpointOwner, keep_only, mark_complete, one_before
from notus_exp.training.measures import MEASURES

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps", "ref_rejected_logps")
"""Columns of a dataset that `PairTrainer` takes: token ids (lists of int) and summed log-probs (float).

A recipe that needs no reference has no log-probs: rewards are then beta times the policy's own."""

MOST_EVENTS = 200
"""Events of training metrics that are written at most; each is a mean over the steps since the one before."""


class PairTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer over datasets with the columns `COLUMNS`; `owner`, set once it is made, marks its checkpoints."""

    owner: CheckpointOwner

    # The loss that `compute_loss` returns is a pass's part of the mean over a global batch: nothing is left to divide.
    loss_is_scaled_for_ga = True
    loss_weights: list[float]

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: Any, dataset_name: str) -> Dataset:
        """Return the dataset as it is: already tokenised, and cut by the reference stage."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Return the dataset as it is: the reference log-probs are columns of it."""
        return dataset

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Count the (pairs, chosen tokens) of a global batch over all its passes and processes, shape (2,)."""
        counts = torch.zeros(2, dtype=torch.float32, device=device)
        for inputs in batch_samples:
            counts += _counts(inputs["completion_mask"]).to(device)
        gathered: torch.Tensor = self.accelerator.gather(counts.unsqueeze(0))
        return gathered.sum(dim=0)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return a pass's part of the global batch's mean loss; without `num_items_in_batch`, the pass's own mean.

        With n of N pairs and t of T chosen tokens in the pass, losses per pair weigh n / N, and the loss sft, which is
        a mean over tokens, t / T: the parts of all passes add up to what a single pass over the global batch gives.
        The number of processes is multiplied in because gradients are averaged over them.
        """
        if num_items_in_batch is None:
            return super().compute_loss(model, inputs, return_outputs)
        share, token_share = (_counts(inputs["completion_mask"]) / num_items_in_batch).tolist()
        weights = self.loss_weights
        self.loss_weights = [
            weight * token_share / share if loss == "sft" else weight
            for loss, weight in zip(self.loss_types, weights, strict=True)
        ]
        try:
            loss = super().compute_loss(model, inputs, return_outputs)
        finally:
            self.loss_weights = weights
        return loss * share * self.accelerator.num_processes

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool) -> Any:
        nothing = inputs["completion_mask"].new_zeros(len(inputs["completion_mask"]) // 2, dtype=torch.float32)
        inputs = {"ref_chosen_logps": nothing, "ref_rejected_logps": nothing, **inputs}
        with _completion_positions_only(), _gathered_by_pair(self.accelerator, inputs) as seen:
            result = super()._compute_loss(model, inputs, return_outputs)
        metrics = self._metrics["train" if self.model.training else "eval"]
        counts = self.accelerator.gather(_counts(inputs["completion_mask"]).to(self.accelerator.device).unsqueeze(0))
        pairs, chosen_tokens = counts.sum(dim=0).tolist()
        metrics["pairs"].append(pairs)
        metrics["rewards/accuracies"][-1] = _accuracy(*seen[:2])
        loss = self.accelerator.gather((result[0] if return_outputs else result).detach().reshape(1)).mean().item()
        weight = sum(w for name, w in zip(self.loss_types, self.loss_weights, strict=True) if name == "sft")
        likelihood = -metrics["logps/chosen"][-1] * pairs / chosen_tokens  # what TRL's sft is: a mean over tokens
        compares = set(self.loss_types) != {"sft"}
        metrics["losses/preference"].append(loss - weight * likelihood if weight and compares else loss)
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with metrics averaged over pairs; the parent class averages over passes, of whatever size."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        pairs = metrics.pop("pairs", [])
        for values in metrics.values():
            if len(values) == len(pairs):
                values[:] = [sum(v * n for v, n in zip(values, pairs, strict=True)) / sum(pairs)]
        super().log(logs, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no card: the stage writes one, with the lineage that only it knows."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        checkpoint = folder / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except BaseException:  # what is half there helps nobody, and may be what fills the disk
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise
        self.accelerator.wait_for_everyone()  # each process saves its own random state
        if self.is_world_process_zero():
            mark_complete(checkpoint, self.owner)
            keep_only(folder, checkpoint, one_before(checkpoint))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        (Path(output_dir or self.args.output_dir) / UNSAFE).unlink(missing_ok=True)


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Turns the trainer's logs into events and progress, and stops a training whose loss is no longer a number.

    It keeps no state of its own: means are taken over the trainer's log history, which a checkpoint holds, so a resumed
    training reports what an uninterrupted one does.
    """

    def __init__(self, events: EventWriter, precision: str) -> None:
        self._events = events
        self._precision = precision

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report a step's or an evaluation's metrics."""
        logs, step = kwargs["logs"], state.global_step
        if "loss" in logs:
            self._stop_if_broken(logs, step)
            if state.is_world_process_zero:
                self._report_step(logs, state)
        elif "eval_loss" in logs and state.is_world_process_zero:
            self._events.emit(step, {f"validation/{name}": logs[f"eval_{key}"] for name, key in MEASURES.items()})

    def _report_step(self, logs: dict[str, float], state: TrainerState) -> None:
        step, every = state.global_step, math.ceil(state.max_steps / MOST_EVENTS)
        self._events.progress(step, state.max_steps, loss=logs["loss"], accuracy=logs["rewards/accuracies"])
        if step % every and step != state.max_steps:
            return
        first = (step - 1) // every * every + 1
        recent = [entry for entry in train_logs(state) if first <= entry["step"] <= step]
        metrics = {f"train/{name}": _mean(entry[key] for entry in recent) for name, key in MEASURES.items()}
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


def final_metrics(state: TrainerState) -> dict[str, float]:
    """Return the training's metrics: means over the last tenth of the steps, and those of the last evaluation."""
    steps = train_logs(state)
    last = steps[-math.ceil(len(steps) / 10) :]
    metrics = {
        f"train/{name}": _mean(entry[MEASURES[name]] for entry in last) for name in ("loss", "accuracy", "margin")
    }
    evaluations = validation_logs(state)
    if evaluations:
        metrics |= {
            f"validation/{name}": evaluations[-1][f"eval_{MEASURES[name]}"] for name in ("loss", "accuracy", "margin")
        }
    return metrics


@contextmanager
def _completion_positions_only() -> Iterator[None]:
    """Let TRL's fused LM head project the positions of the completions alone, on the CPU as it does on a GPU.

    Off a GPU it projects the prompts too and masks the result afterwards; with a vocabulary of 49,000 and small hidden
    states that is a quarter of a step's time. Only the choice of positions hangs on the name that is replaced here.
    """
    original = trl_utils._use_triton
    trl_utils._use_triton = lambda device: True
    try:
        yield
    finally:
        trl_utils._use_triton = original


@contextmanager
def _gathered_by_pair(accelerator: Any, inputs: dict[str, Any]) -> Iterator[list[torch.Tensor]]:
    """Note the values by pair that TRL gathers from all processes: the chosen rewards, the rejected rewards, and more.

    It logs the share of pairs whose chosen reward is higher, which counts a tie as a loss, and keeps no value by pair.
    """
    gather, seen = accelerator.gather, list[torch.Tensor]()
    pairs = len(inputs["completion_mask"]) // 2

    def note(value: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = gather(value)
        if value.shape == (pairs,):
            seen.append(found)
        return found

    accelerator.gather = note
    try:
        yield seen
    finally:
        accelerator.gather = gather


def _accuracy(chosen: torch.Tensor, rejected: torch.Tensor) -> float:
    """Return the share of pairs whose chosen reward is higher; a tie counts half, as it does in the evaluation."""
    return ((chosen > rejected).float() + 0.5 * (chosen == rejected).float()).mean().item()


def _counts(completion_mask: torch.Tensor) -> torch.Tensor:
    """Count the pairs and the chosen tokens of a pass: its mask has the chosen rows first, then the rejected ones."""
    pairs = len(completion_mask) // 2
    tokens = completion_mask[:pairs, 1:].sum()
    return torch.stack([torch.tensor(float(pairs), device=tokens.device), tokens.float()])


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
