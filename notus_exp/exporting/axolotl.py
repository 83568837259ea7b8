"""A config of axolotl that trains a run's recipe; keys as axolotl 0.19 has them."""

from __future__ import annotations

from typing import Any

from notus_exp.config.dpo_checks import ALL_LINEAR
from notus_exp.config.training_settings import DPO
from notus_exp.exporting.trainer_recipe import TrainerRecipe, as_yaml, refuse_unsaid

FILE = "axolotl.yaml"
NAME = "axolotl"
_SAID = ("loss_weights", "label_smoothing", "use_weighting")


def config(recipe: TrainerRecipe, files: dict[str, str]) -> str:
    """Return axolotl's YAML.

    Args:
        recipe: The recipe.
        files: Split -> its file of `layouts.for_trainers`, relative to the config.

    Raises:
        UserError: The recipe has what axolotl cannot be told, naming the setting.
    """
    dpo = recipe.dpo
    content: dict[str, Any] = {
        "base_model": recipe.base.id,
        "revision_of_model": recipe.base.commit,
        **_objective(dpo),
        "chat_template": "tokenizer_default",
        "datasets": [_dataset(files["train"])],
        **({"test_datasets": [_dataset(files["validation"])]} if "validation" in files else {}),
        "val_set_size": 0.0,
        "sequence_len": dpo.max_length,
        "excess_length_strategy": "truncate",
        **_adapter(recipe),
        "micro_batch_size": recipe.micro,
        "gradient_accumulation_steps": recipe.accumulation,
        **({"max_steps": dpo.max_steps} if dpo.max_steps is not None else {}),
        "num_epochs": dpo.epochs,
        "learning_rate": dpo.learning_rate,
        "lr_scheduler": dpo.lr_scheduler,
        "warmup_steps": recipe.warmup,
        "optimizer": dpo.optimizer,
        "weight_decay": dpo.weight_decay,
        "max_grad_norm": dpo.max_grad_norm,
        "bf16": dpo.precision.name == "bfloat16",
        "fp16": dpo.precision.name == "float16",
        "gradient_checkpointing": recipe.checkpointing,
        **({"eval_steps": recipe.every(dpo.evaluations)} if "validation" in files and dpo.evaluations else {}),
        "save_steps": recipe.every(dpo.checkpoints),
        "logging_steps": 1,
        "seed": recipe.seed,
        "output_dir": "policy",
    }  # fmt: skip
    return as_yaml(
        f"The recipe of the run for axolotl, in this folder: axolotl train {FILE}\n"
        f"For one device; on N devices divide gradient_accumulation_steps={recipe.accumulation} by N.",
        content,
    )


def differences(recipe: TrainerRecipe) -> list[str]:
    """Say in what axolotl's training is another one."""
    full = recipe.dpo.lora.r == 0 and recipe.dpo.precision.name != "float32"
    masters = full and recipe.dpo.master_weights.name == "float32"
    said = [f"axolotl leaves out pairs whose prompt alone has more than {recipe.dpo.max_length} tokens"]
    said += ["axolotl holds all weights in 16 bits, where the run updated them in float32"] if masters else []
    return [*recipe.notes, *said]


def _objective(dpo: DPO) -> dict[str, Any]:
    """Return the loss; axolotl hands TRL's names of losses on."""
    refuse_unsaid(dpo, NAME, ("dpo", "simpo"), _SAID)
    if dpo.algorithm == "simpo":
        told = {"simpo_gamma": dpo.gamma_beta_ratio * dpo.beta, "cpo_alpha": dpo.cpo_alpha or 0.0}
        return {"rl": "simpo", "rl_beta": dpo.beta, **told}
    return {
        "rl": "dpo",
        "rl_beta": dpo.beta,
        "dpo_loss_type": list(dpo.loss_type),
        **({"dpo_loss_weights": list(dpo.loss_weights)} if dpo.loss_weights is not None else {}),
        **({"dpo_label_smoothing": dpo.label_smoothing} if dpo.label_smoothing else {}),
        **({"dpo_use_weighting": True} if dpo.use_weighting else {}),
    }


def _dataset(file: str) -> dict[str, Any]:
    return {
        "path": file,
        "ds_type": "json",
        "split": "train",
        "type": "chat_template.default",
        "field_messages": "messages",
        "field_chosen": "chosen",
        "field_rejected": "rejected",
    }


def _adapter(recipe: TrainerRecipe) -> dict[str, Any]:
    lora = recipe.dpo.lora
    if not lora.r:
        return {}
    everything = ALL_LINEAR in lora.target_modules
    held = {"int8": {"load_in_8bit": True}, "nf4": {"load_in_4bit": True}}.get(lora.quantisation, {})
    return {
        "adapter": "qlora" if lora.quantisation == "nf4" else "lora",
        **held,
        "lora_r": lora.r,
        "lora_alpha": int(lora.alpha),
        "lora_dropout": lora.dropout,
        **({"lora_target_linear": True} if everything else {"lora_target_modules": list(lora.target_modules)}),
    }
