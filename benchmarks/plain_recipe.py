"""A recipe of the framework in the words of TRL and PEFT, as the plain scripts beside it write them."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig
from trl import DPOConfig

# transformers renamed the option; its older versions, which GPU machines have, know only the old name.
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if name in DPOConfig.__dataclass_fields__
)


def dpo_config(recipe: dict[str, Any], *, beta: float, checkpointing: bool, **more: Any) -> DPOConfig:
    """Return the arguments of TRL's trainer; `recipe` is the group `dpo` as JSON, `more` what is beside it."""
    return DPOConfig(
        beta=beta,
        loss_type=recipe["loss_type"],
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type=recipe["lr_scheduler"],
        warmup_steps=recipe["warmup"],
        optim=recipe["optimizer"],
        weight_decay=recipe["weight_decay"],
        max_grad_norm=recipe["max_grad_norm"],
        num_train_epochs=recipe["epochs"],
        max_length=recipe["max_length"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **{CHECKPOINTING: checkpointing},
        **more,
    )


def adapter(recipe: dict[str, Any]) -> LoraConfig:
    """Return the adapter's configuration."""
    lora = recipe["lora"]
    return LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["target_modules"],
        task_type="CAUSAL_LM",
    )
