"""What every trainer here has beside TRL's: data that is ready, metrics that are means over pairs, trusted checkpoints.

It takes datasets as they are, already tokenised by our rules and with known reference log-probs; it deals global
batches out to processes and averages what is logged over pairs, so that neither micro-batches nor processes can move a
result, marks checkpoints as complete, and keeps no pickle.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers.trainer
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from trl.trainer import dpo_trainer, kto_trainer

from notus_exp.training.batching import BY_LENGTH, LengthSampler, pair_lengths
from notus_exp.training.checkpoints import UNSAFE, CheckpointOwner, keep_only, mark_complete, one_before
from notus_exp.training.dealing import ABSENT, DealtBatches, gathered_by_row, mean_of
from notus_exp.training.sharding import ShardedModel, Sharding, gathered, shard, share_state
from notus_exp.training.shards import FOLDER as SHARDS
from notus_exp.training.shards import load_shards, save_shards
from notus_exp.training.throughput import Meter
from notus_exp.training.zero import load_whole, masters, save_whole

OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"
"""Names of transformers, in a checkpoint."""
EVALUATED = "losses/whole"
"""Metric of a pass: its whole loss."""


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
    data_collator: Any
    meter: Meter
    rows_of_pair = 1
    """Rows of a dataset that are one pair."""
    is_deepspeed_enabled: bool
    model_wrapped: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(self, *, sharding: Sharding | None = None, meter: Meter | None = None, **given: Any) -> None:
        self.meter = meter or Meter()
        self.sharding = sharding
        with _unhashed():
            super().__init__(**given)

    def train(self, *given: Any, **named: Any) -> Any:
        """Train; what DeepSpeed would read of a checkpoint is not in ours, which is read with the optimiser's state."""
        plain, transformers.trainer.deepspeed_load_checkpoint = (
            transformers.trainer.deepspeed_load_checkpoint,
            lambda *_, **__: None,
        )
        try:
            return super().train(*given, **named)  # type: ignore[misc]
        finally:
            transformers.trainer.deepspeed_load_checkpoint = plain

    def create_optimizer(self, *given: Any) -> Any:
        """Share the model out where that is asked for, and return its optimiser."""
        if self.sharding and not isinstance(self.model_wrapped, ShardedModel):
            shard(self.model, self.sharding)
            self.model_wrapped = ShardedModel(self.model, self.accelerator.autocast)
        return super().create_optimizer(*given)  # type: ignore[misc]

    def _wrap_model(self, model: Any, *given: Any, **named: Any) -> Any:
        return self.model_wrapped if self.sharding else super()._wrap_model(model, *given, **named)  # type: ignore[misc]

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if not self.sharding:  # then it moves block by block
            super()._move_model_to_device(model, device)  # type: ignore[misc]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        found = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        return found.full_tensor() if isinstance(found, DTensor) else found

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return the order of an epoch; by lengths it is of the global batch, which transformers does not know."""
        dataset = self.train_dataset if train_dataset is None else train_dataset  # type: ignore[attr-defined]
        if self.args.train_sampling_strategy != BY_LENGTH:
            return super()._get_train_sampler(dataset)  # type: ignore[misc]
        passes = self.args.gradient_accumulation_steps * self.accelerator.num_processes
        batch = self.args.per_device_train_batch_size * passes
        return LengthSampler(self.lengths(dataset), batch, self.args.data_seed)

    def lengths(self, dataset: Any) -> list[int]:
        """Return what each row of a dataset is padded by, in tokens."""
        return pair_lengths(dataset)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        """Return an evaluation's order: the dataset's, as ever; by lengths transformers would look for `input_ids`."""
        return SequentialSampler(eval_dataset)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's passes of an epoch."""
        if self._alone():
            return super().get_train_dataloader()  # type: ignore[misc,no-any-return]
        micro = self.args.per_device_train_batch_size
        batch = micro * self.args.gradient_accumulation_steps * self.accelerator.num_processes
        return self._dealt(self.train_dataset, self._get_train_sampler(), batch, micro)  # type: ignore[attr-defined]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return this process's passes of an evaluation."""
        if self._alone():
            return super().get_eval_dataloader(eval_dataset)  # type: ignore[misc,no-any-return]
        given = self.eval_dataset if eval_dataset is None else eval_dataset  # type: ignore[attr-defined]
        micro = self.args.per_device_eval_batch_size
        return self._dealt(given, SequentialSampler(given), micro * self.accelerator.num_processes, micro)

    def _dealt(self, dataset: Any, order: Sampler[int], batch: int, micro: int) -> DataLoader[Any]:
        dealt = DealtBatches(
            order, batch, micro, self.rows_of_pair, self.accelerator.num_processes, self.accelerator.process_index
        )
        loader = DataLoader(
            self._remove_unused_columns(dataset),  # type: ignore[attr-defined]
            batch_sampler=dealt,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        config = self.accelerator.dataloader_config
        prepared: DataLoader[Any] = prepare_data_loader(  # it orders rows by seed and epoch, and deals nothing out
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            rng_types=[],
            data_seed=config.data_seed,
            use_seedable_sampler=True,
        )
        return prepared

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
                values[:] = [mean_of(values, pairs)]
        whole = metrics.pop(EVALUATED, [])
        if whole and "eval_loss" in logs:  # transformers averages passes, and drops by a count that is not ours
            logs["eval_loss"] = whole[0]
        super().log(logs, start_time)  # type: ignore[misc]

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *given: Any, **named: Any) -> Any:
        """Return the loss of a pass; what it logs is gathered from the processes that have pairs in it."""
        absent = ABSENT in inputs
        kept = {name: value for name, value in inputs.items() if name != ABSENT}
        with gathered_by_row(self.accelerator, absent=absent):
            return super().compute_loss(model, kept, *given, **named)  # type: ignore[misc]

    def mean_over_pairs(self, value: torch.Tensor, pairs: int) -> float:
        """Return the mean over a pass's pairs of all processes of a value that is a mean over those of this one."""
        by_pair = value.detach().reshape(1)
        gathered: torch.Tensor = self.accelerator.gather(by_pair if self._alone() else by_pair.repeat(pairs))
        return gathered.mean().item()

    def _alone(self) -> bool:
        alone: bool = self.accelerator.num_processes == 1
        return alone

    def _prepare_input(self, data: Any) -> Any:
        """Move a value to the device; under DeepSpeed the parent would round log-probs to the working precision too."""
        return data.to(self.args.device) if isinstance(data, torch.Tensor) else super()._prepare_input(data)  # type: ignore[misc]

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        with gathered_by_row(self.accelerator, absent=ABSENT in inputs):
            if ABSENT not in inputs:
                self.meter.count(inputs["attention_mask"])
            super()._track_num_input_tokens(inputs)  # type: ignore[misc]

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

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model whole, from process 0; a checkpoint of one that is shared out holds its shards instead."""
        if not self.sharding and not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
            return
        folder = output_dir or self.args.output_dir
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not _internal_call:
            whole = gathered if self.sharding else masters
            self._save(folder, whole(self.model, writes=self.args.should_save))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        shards = Path(output_dir) / SHARDS
        if self.sharding:
            save_shards(self.model, self.optimizer, shards)
        elif self.is_deepspeed_enabled:
            save_whole(self.model, self.model_wrapped, shards, writes=self.args.should_save)
        else:
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
            return
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        if not (Path(checkpoint) / SHARDS).exists():  # else weights come with the optimiser's state, once there is one
            super()._load_from_checkpoint(checkpoint, model)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        shards = Path(checkpoint) / SHARDS if checkpoint else None
        if checkpoint is None or shards is None or not (self.sharding or shards.exists()):
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        if self.is_deepspeed_enabled:
            load_whole(self.model, self.model_wrapped, shards)
        elif shards.exists():
            load_shards(self.model, self.optimizer, shards)
        else:
            share_state(self.optimizer, torch.load(Path(checkpoint) / OPTIMIZER, map_location="cpu", weights_only=True))
        schedule = torch.load(Path(checkpoint) / SCHEDULER, weights_only=True)
        for name in ("base_lrs", "_last_lr", "lr_lambdas"):  # of each group, all alike: DeepSpeed has no empty group
            if schedule.get(name):
                schedule[name] = schedule[name][:1] * len(self.optimizer.param_groups)
        self.lr_scheduler.load_state_dict(schedule)
        for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        (Path(output_dir or self.args.output_dir) / UNSAFE).unlink(missing_ok=True)


@contextmanager
def _unhashed() -> Iterator[None]:
    """Within, let TRL hash no model: it would name a cache of reference log-probs by it, and none is made here.

    Of 7 billion weights in float32 that is 28 GB, hashed by every process.
    """
    plain = dpo_trainer.hash_module
    dpo_trainer.hash_module = kto_trainer.hash_module = lambda model: ""
    try:
        yield
    finally:
        dpo_trainer.hash_module = kto_trainer.hash_module = plain
