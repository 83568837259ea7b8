"""A training recipe and a machine, small and plain; keyword arguments change them."""

from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import DPO, LongPrompts, Lora, Precision

LORA = Lora(r=4, alpha=8, dropout=0.0, target_modules=["q_proj", "v_proj"])


def recipe(**changes):
    values = {
        "beta": 0.1, "loss_type": ["sigmoid"], "loss_weights": None, "label_smoothing": 0.0, "learning_rate": 1e-3,
        "lr_scheduler": "linear", "warmup": 0.0, "optimizer": "adamw_torch", "weight_decay": 0.0, "max_grad_norm": 1.0,
        "epochs": 1.0, "max_steps": None, "global_batch_size": 4, "precision": Precision.float32, "max_length": 96,
        "max_prompt_length": 64, "long_prompts": LongPrompts.drop, "evaluations": 1, "max_validation_pairs": None,
        "checkpoints": 1, "lora": LORA,
    }  # fmt: skip
    return DPO(**{**values, **changes})


def machine(**changes):
    values = {
        "name": "cpu", "device": Device.cpu, "micro_batch_size": 4, "scoring_batch_size": 1,
        "generation_batch_size": 4, "attention": "sdpa", "activation_checkpointing": False,
        "precisions": [Precision.float32, Precision.bfloat16], "launch": Launch.plain, "processes": 1,
        "zero_stage": None, "offload": False,
    }  # fmt: skip
    return Hardware(**{**values, **changes})
