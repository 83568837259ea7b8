"""A config of LLaMA-Factory that trains a run's recipe, and its list of datasets; keys as version 0.9.5 has them."""

from __future__ import annotations

import json
from typing import Any

from notus_exp.config.dpo_checks import ALL_LINEAR
from notus_exp.config.training_settings import DPO
from notus_exp.errors import UserError
from notus_exp.exporting.trainer_recipe import HANDED_ALL_THE_SAME, TrainerRecipe, as_yaml, refuse_unsaid

FILE, DATASETS = "llama_factory.yaml", "dataset_info.json"
NAME = "LLaMA-Factory"
_LOSSES = ("sigmoid", "hinge", "ipo")
_AVERAGED = ("simpo", "orpo")
"""Losses of DPO, and algorithms, that it calls by the same names."""
_LIKELIHOOD = "sft"
_BITS = {"int8": 8, "nf4": 4}


def config(recipe: TrainerRecipe, files: dict[str, str]) -> str:
    """Return LLaMA-Factory's YAML.

    Args:
        recipe: The recipe.
        files: Split -> its file of `layouts.for_trainers`, relative to the config.

    Raises:
        UserError: The recipe has what LLaMA-Factory cannot be told, naming the setting.
    """
    dpo = recipe.dpo
    evaluates = "validation" in files and dpo.evaluations > 0
    content: dict[str, Any] = {
        "model_name_or_path": recipe.base.id,
        "model_revision": recipe.base.commit,
        "stage": "dpo",
        "do_train": True,
        **_tuned(recipe),
        **_loss(dpo),
        "pref_beta": dpo.beta,
        **({"simpo_gamma": dpo.gamma_beta_ratio * dpo.beta} if dpo.algorithm == "simpo" else {}),
        **({"ld_alpha": dpo.ld_alpha} if dpo.ld_alpha is not None else {}),
        "dataset_dir": ".",
        "dataset": "train",
        **({"eval_dataset": "validation"} if evaluates else {}),
        "cutoff_len": dpo.max_length,
        "per_device_train_batch_size": recipe.micro,
        "gradient_accumulation_steps": recipe.accumulation,
        **({"max_steps": dpo.max_steps} if dpo.max_steps is not None else {}),
        "num_train_epochs": dpo.epochs,
        "learning_rate": dpo.learning_rate,
        "lr_scheduler_type": dpo.lr_scheduler,
        "warmup_steps": recipe.warmup,
        "optim": dpo.optimizer,
        "weight_decay": dpo.weight_decay,
        "max_grad_norm": dpo.max_grad_norm,
        "bf16": dpo.precision.name == "bfloat16",
        "fp16": dpo.precision.name == "float16",
        **({"eval_strategy": "steps", "eval_steps": recipe.every(dpo.evaluations)} if evaluates else {}),
        "save_strategy": "steps",
        "save_steps": recipe.every(dpo.checkpoints),
        "logging_steps": 1,
        "report_to": "none",
        "seed": recipe.seed,
        "output_dir": "policy",
    }
    return as_yaml(
        f"The recipe of the run for LLaMA-Factory, in this folder: llamafactory-cli train {FILE}\n"
        f"For one device; on N devices divide gradient_accumulation_steps={recipe.accumulation} by N.\n"
        "No template is named: LLaMA-Factory then takes the tokenizer's own.",
        content,
    )


def datasets(files: dict[str, str]) -> str:
    """Return dataset_info.json: where each split lies and which of its fields is what."""
    entry = {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    content = {split: {"file_name": file, **entry} for split, file in files.items()}
    return json.dumps(content, indent=2) + "\n"


def differences(recipe: TrainerRecipe) -> list[str]:
    """Say in what LLaMA-Factory's training is another one."""
    said = [
        *recipe.notes,
        f"LLaMA-Factory cuts prompt and answer alike where both have more than {recipe.dpo.max_length} tokens",
    ]
    if _LIKELIHOOD in recipe.dpo.loss_type:
        said.append(
            "beside the preferences LLaMA-Factory weighs each chosen response alike, where the run did each token"
        )
    if recipe.system_prompt == "":
        said.append("an empty system turn is none to LLaMA-Factory: its template writes what it writes without one")
    if recipe.dpo.precision.name == "float32":
        said.append("LLaMA-Factory has no key for float32: it computes as the base model is stored")
    if recipe.dpo.algorithm == "simpo" and recipe.dpo.cpo_alpha:
        beside = f"dpo.cpo_alpha={recipe.dpo.cpo_alpha:g}"
        said.append(f"LLaMA-Factory's SimPO has no likelihood beside it, where the run had {beside}")
    return said


def _loss(dpo: DPO) -> dict[str, Any]:
    """Return the loss by its names: one of DPO, the chosen response's likelihood beside it where there is that too."""
    refuse_unsaid(dpo, NAME, ("dpo", *_AVERAGED), ("ld_alpha", "loss_weights"))
    if dpo.algorithm in _AVERAGED:
        return {"pref_loss": dpo.algorithm}
    weights = dict(zip(dpo.loss_type, dpo.loss_weights or [1.0] * len(dpo.loss_type), strict=True))
    likelihood = weights.pop(_LIKELIHOOD, 0.0)
    if len(weights) != 1 or not {*_LOSSES}.issuperset(weights) or {*weights.values()} != {1.0}:
        asked, weighed = ", ".join(dpo.loss_type), "" if dpo.loss_weights is None else f" weighed {dpo.loss_weights}"
        raise UserError(f"dpo.loss_type=[{asked}]{weighed} has no counterpart in {NAME} here", HANDED_ALL_THE_SAME)
    return {"pref_loss": next(iter(weights)), **({"pref_ftx": likelihood} if likelihood else {})}


def _tuned(recipe: TrainerRecipe) -> dict[str, Any]:
    lora = recipe.dpo.lora
    if not lora.r:
        return {"finetuning_type": "full"}
    held = {"quantization_bit": _BITS[lora.quantisation]} if lora.quantisation in _BITS else {}
    return {
        "finetuning_type": "lora",
        "lora_rank": lora.r,
        "lora_alpha": int(lora.alpha),
        "lora_dropout": lora.dropout,
        "lora_target": "all" if ALL_LINEAR in lora.target_modules else ",".join(lora.target_modules),
        **held,
    }
