"""What every trainer here has beside TRL's: data that is ready, metrics that are means over pairs, trusted checkpoints.

It takes datasets as they are, already tokenised by our rules and with known reference log-probs; it averages what is
logged over pairs, so that micro-batches cannot move it, marks checkpoints as complete, and keeps no pickle.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from notus_exp.training.checkpoints import UNSAFE, CheckpointOwner, keep_only, mark_complete, one_before


class PreparedTrainer:
    """Comes before a trainer of TRL among a class's bases; `owner`, set once it is made, marks its checkpoints."""

    owner: CheckpointOwner

    # The loss that `compute_loss` returns is a pass's part of the mean over a global batch: nothing is left to divide.
    loss_is_scaled_for_ga = True
    _metrics: dict[str, dict[str, list[float]]]
    model: torch.nn.Module
    args: Any
    state: Any
    accelerator: Any

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: Any, dataset_name: str) -> Dataset:
        """Return the dataset as it is: already tokenised, and cut by the reference stage."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Return the dataset as it is: the reference log-probs are columns of it."""
        return dataset

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with metrics averaged over pairs; the parent class averages over passes, of whatever size."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        pairs = metrics.pop("pairs", [])
        for values in metrics.values():
            if len(values) == len(pairs):
                values[:] = [sum(v * n for v, n in zip(values, pairs, strict=True)) / sum(pairs)]
        super().log(logs, start_time)  # type: ignore[misc]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no card: the stage writes one, with the lineage that only it knows."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        checkpoint = folder / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        except BaseException:  # what is half there helps nobody, and may be what fills the disk
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise
        self.accelerator.wait_for_everyone()  # each process saves its own random state
        if self.is_world_process_zero():  # type: ignore[attr-defined]
            mark_complete(checkpoint, self.owner)
            keep_only(folder, checkpoint, one_before(checkpoint))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        (Path(output_dir or self.args.output_dir) / UNSAFE).unlink(missing_ok=True)
