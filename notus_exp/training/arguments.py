"""From a recipe and a machine to the trainer's arguments: pure, and the only place that knows the trainer's names."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from peft import LoraConfig
from trl import DPOConfig, KTOConfig, SFTConfig

from notus_exp.config.algorithms import objective
from notus_exp.config.batches import plan_batches
from notus_exp.config.dpo_checks import ALL_LINEAR
from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.told_to_deepspeed import zero_config
from notus_exp.config.training_settings import DPO, Lora, MasterWeights
from notus_exp.errors import UserError
from notus_exp.training.batching import BY_LENGTH

# transformers renamed the option and warns about the old name; its older versions know only that.
_CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if name in DPOConfig.__dataclass_fields__
)


def float32_masters(dpo: DPO) -> bool:
    """Say whether a training updates all weights in float32, whatever it computes in."""
    return dpo.lora.r == 0 and dpo.master_weights is MasterWeights.float32


class StepPlan(NamedTuple):
    """Optimiser steps of a run: `total` of them, `per_epoch` in one pass, the first `warmup` with a rising rate."""

    total: int
    per_epoch: int
    warmup: int


def plan_steps(dpo: DPO, pairs: int) -> StepPlan:
    """Count the optimiser steps; an epoch's last, incomplete batch is a step too.

    Raises:
        UserError: The warm-up would not end within the training.
    """
    per_epoch = math.ceil(pairs / dpo.global_batch_size)
    total = dpo.max_steps if dpo.max_steps is not None else math.ceil(dpo.epochs * per_epoch)
    warmup = math.ceil(dpo.warmup * total) if dpo.warmup < 1 else int(dpo.warmup)
    if warmup > total:
        raise UserError(
            f"dpo.warmup={dpo.warmup:g} steps is more than the {total} steps of the training",
            "give a share below 1, or train longer",
        )
    return StepPlan(total, per_epoch, warmup)


def dpo_arguments(
    dpo: DPO, hardware: Hardware, *, train_pairs: int, validation_pairs: int, seed: int, out: Path, use_cpu: bool
) -> dict[str, Any]:
    """Return the keyword arguments of `trl.DPOConfig`, or of `trl.KTOConfig`, for a recipe on a machine.

    `max_prompt_length` and `long_prompts` are not among them: prompts are dropped or cut where they are encoded, before
    the reference log-probs are computed.

    Args:
        dpo: The recipe.
        hardware: The machine; its `device` is already resolved into `use_cpu`.
        train_pairs: Training pairs, at least 1.
        validation_pairs: Validation pairs; without any, nothing is evaluated.
        seed: Moves the adapter's initialisation, dropout and data order.
        out: Folder for checkpoints.
        use_cpu: Whether the processor computes.

    Raises:
        UserError: See `plan_batches` and `plan_steps`.
    """
    shared = shared_arguments(
        dpo, hardware, train=train_pairs, validation=validation_pairs, seed=seed, out=out, use_cpu=use_cpu
    )
    own = _of_kto(dpo) if dpo.algorithm == "kto" else _of_pairs(dpo)
    rows = 2 if dpo.algorithm == "kto" else 1  # of a pair: KTO's are its two responses
    micro = shared["per_device_train_batch_size"]
    return {
        **shared,
        "beta": dpo.beta,
        **own,
        "precompute_ref_log_probs": True,
        "disable_dropout": False,  # it would also switch off the adapter's; the base model's is switched off in dpo.py
        "per_device_train_batch_size": rows * micro,
        # sft is a mean over the tokens of a pass: pairs evaluated one by one do not depend on who shares their pass
        "per_device_eval_batch_size": rows * (1 if "sft" in own.get("loss_type", ()) else micro),
    }


def sft_arguments(
    recipe: DPO, hardware: Hardware, *, train: int, validation: int, seed: int, out: Path, use_cpu: bool
) -> dict[str, Any]:
    """Return the keyword arguments of `trl.SFTConfig`, whose data are tokens and labels already.

    Args:
        recipe: As `config.sft_checks.as_recipe` gives it.
        hardware: The machine.
        train: Conversations to train on, at least 1.
        validation: Conversations that are measured on.
        seed: Moves the adapter's initialisation, dropout and data order.
        out: Folder for checkpoints.
        use_cpu: Whether the processor computes.

    Raises:
        UserError: See `plan_batches` and `plan_steps`.
    """
    return {
        **shared_arguments(recipe, hardware, train=train, validation=validation, seed=seed, out=out, use_cpu=use_cpu),
        "train_sampling_strategy": BY_LENGTH if recipe.batching == "length" else "random",
        "loss_type": "nll",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "completion_only_loss": False,  # labels say what is learnt
        "packing": False,
    }


def shared_arguments(
    recipe: DPO, hardware: Hardware, *, train: int, validation: int, seed: int, out: Path, use_cpu: bool
) -> dict[str, Any]:
    """Return the arguments that every trainer here is given: how it optimises, on what machine, and what it keeps.

    Arguments and errors are those of `sft_arguments`.
    """
    batches, steps = plan_batches(recipe, hardware), plan_steps(recipe, train)
    evaluates = recipe.evaluations > 0 and validation > 0
    return {
        "output_dir": str(out),
        "max_length": recipe.max_length,
        # optimisation
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.lr_scheduler,
        "warmup_steps": steps.warmup,
        "optim": recipe.optimizer,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "per_device_train_batch_size": batches.micro,
        "gradient_accumulation_steps": batches.accumulation,
        "per_device_eval_batch_size": batches.micro,
        "seed": seed,
        "data_seed": seed,
        # the machine
        # autocast computes float32 masters in 16 bits; weights that are in them already are computed as they are
        "bf16": recipe.precision.name == "bfloat16" and recipe.master_weights is MasterWeights.float32,
        "fp16": recipe.precision.name == "float16",
        "tf32": None if use_cpu else False,  # float32 means float32, on every device
        "use_cpu": use_cpu,
        _CHECKPOINTING: hardware.activation_checkpointing,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not use_cpu,
        "deepspeed": zero_config(recipe, hardware) if hardware.launch is Launch.deepspeed else None,
        # what is kept and told
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": math.ceil(steps.total / recipe.evaluations) if evaluates else None,
        "save_strategy": "steps",
        "save_steps": math.ceil(steps.total / recipe.checkpoints),
        "save_total_limit": None,  # checkpoints.py removes old ones, and only after a newer one is complete
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "prediction_loss_only": True,
        "report_to": "none",
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def _of_pairs(dpo: DPO) -> dict[str, Any]:
    losses, weights = objective(dpo)
    return {
        "train_sampling_strategy": BY_LENGTH if dpo.batching == "length" else "random",
        "loss_type": losses,
        "loss_weights": weights,
        "label_smoothing": dpo.label_smoothing,
        "f_divergence_type": dpo.f_divergence_type,
        "f_alpha_divergence_coef": dpo.f_alpha_divergence_coef,
        "ld_alpha": dpo.ld_alpha,
        "discopop_tau": dpo.discopop_tau,
        "use_weighting": dpo.use_weighting,
    }


def _of_kto(dpo: DPO) -> dict[str, Any]:
    return {
        "desirable_weight": dpo.kto_desirable_weight,
        "undesirable_weight": dpo.kto_undesirable_weight,
        "train_sampling_strategy": "sequential",  # a batch's own other responses make its reference point
    }


CONFIGS: dict[str, type[Any]] = {"kto": KTOConfig, "sft": SFTConfig}
"""Algorithm -> the config of its trainer, where that is not DPO's."""


def trainer_config(
    arguments: dict[str, Any], hardware: Hardware, algorithm: str = "dpo"
) -> DPOConfig | KTOConfig | SFTConfig:
    """Make the trainer's config of `dpo_arguments` or `sft_arguments`.

    Raises:
        UserError: The launched world is another one than the hardware option describes, or something else than it
            asks accelerate to share the model out.
    """
    for asked in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM"):
        if os.environ.get(asked, "false").lower() in ("true", "1"):  # TRL would open a reference model, too
            raise UserError(
                f"{asked} is set, and hardware.launch={hardware.launch.name} says how the model is shared out",
                f"unset {asked}; hardware.launch=fsdp2 shares it out",
            )
    config = CONFIGS.get(algorithm, DPOConfig)(**arguments)
    if config.world_size != hardware.processes:
        raise UserError(
            f"hardware.processes={hardware.processes}, but {config.world_size} processes were launched",
            "start the run through the launch command that its plan shows",
        )
    return config


def lora_config(lora: Lora) -> LoraConfig | None:
    """Return the adapter's config, or None where all weights are trained (`r: 0`)."""
    if lora.r == 0:
        return None
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=ALL_LINEAR if ALL_LINEAR in lora.target_modules else list(lora.target_modules),
        task_type="CAUSAL_LM",
    )
