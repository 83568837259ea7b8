"""What a training algorithm reads: whether it needs the reference, for which every plan asks here."""

from __future__ import annotations

from notus_exp.config.training_settings import DPO

PREFERENCE_FREE = frozenset({"sft"})
"""Losses that read the chosen responses alone, and so no reference either."""


def needs_reference(dpo: DPO) -> bool:
    """Say whether a recipe trains with the reference's log-probs; an evaluation may need them all the same.

    Args:
        dpo: The recipe; its losses are already checked.
    """
    return not set(dpo.loss_type) <= PREFERENCE_FREE
