"""What a training measures, by our names and by TRL's. Imports nothing heavy: a search names these before it runs."""

from __future__ import annotations

MEASURES = {
    "loss": "loss",
    "preference_loss": "losses/preference",  # of a sum such as [sigmoid, sft] what compares; else the loss itself
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "rewards_chosen": "rewards/chosen",
    "rewards_rejected": "rewards/rejected",
    "logps_chosen": "logps/chosen",
    "logps_rejected": "logps/rejected",
}
"""Name in our events -> name in the trainer's logs."""
REFERENCE_POINT = {"reference_point": "kl"}
"""Likewise, of KTO alone: the divergence (nats) that its rewards are compared with, 0 where the estimate is below."""
SUPERVISED = {"loss": "loss", "accuracy": "mean_token_accuracy", "entropy": "entropy"}
"""Likewise, of a supervised training: means over the tokens that are learnt; accuracy is the share of them that the
model itself would write most likely, and entropy (nats) that of what it would write in their places."""


def training_metrics() -> list[str]:
    """Return the names of the validation metrics in the policy stage's events, as `policy/validation/accuracy`."""
    return [f"policy/validation/{measure}" for measure in MEASURES]
