"""What DeepSpeed is told of a recipe and a machine."""

from __future__ import annotations

import importlib.util
from typing import Any

from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.training_settings import DPO
from notus_exp.errors import UserError


def require_deepspeed() -> None:
    """Refuse a launch by DeepSpeed where it is not installed.

    Raises:
        UserError: How to install it.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            "hardware.launch=deepspeed needs DeepSpeed, which is not installed",
            "pip install 'notus-exp[deepspeed]', or use hardware.launch=fsdp2",
        )


def zero_config(dpo: DPO, hardware: Hardware) -> dict[str, Any]:
    """Return DeepSpeed's configuration; batches and clipping are those of the trainer's arguments.

    In bfloat16 and float16 it trains float32 master weights, and from stage 2 on it sums gradients in float32 too.
    """
    by_hidden_size = dict.fromkeys(
        ("reduce_bucket_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold"), "auto"
    )
    stage: dict[str, Any] = {"stage": hardware.zero_stage, **by_hidden_size}
    if hardware.offload:
        stage["offload_optimizer"] = {"device": "cpu"}
        if hardware.zero_stage == 3:
            stage["offload_param"] = {"device": "cpu"}
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": stage,
        "zero_allow_untested_optimizer": True,  # torch's own: the recipe names it
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": dpo.precision.name == "bfloat16"},
        "fp16": {"enabled": dpo.precision.name == "float16"},
        "communication_data_type": "fp32",
        # stage 1 would be another optimiser of DeepSpeed's, whose state nothing here saves
        "data_types": {"grad_accum_dtype": "fp32" if (hardware.zero_stage or 0) > 1 else None},
        "steps_per_print": 2**31,
    }
