"""What a recipe's models compute in, and how their weights are held: one word that stages and stores know it by."""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.training_settings import DPO, QUANTISATIONS, Precision

JOINT = "-"
WORDS = tuple(
    f"{precision.name}{JOINT}{quantisation}" if quantisation != QUANTISATIONS[0] else precision.name
    for precision in Precision
    for quantisation in QUANTISATIONS
)
"""All that `working_precision` may return."""


class Working(NamedTuple):
    """What is computed in, and how the weights of linear layers are held: "none" as they are computed."""

    computed: str
    quantisation: str


def working_precision(dpo: DPO) -> str:
    """Return what everything of a recipe is computed in: "bfloat16", or "bfloat16-nf4" over a quantised base.

    The reference, the policy and the base model's answers of a recipe come of the same weights, quantised where the
    policy's are: else the policy would differ from its reference before it has learnt anything.
    """
    quantised = dpo.lora.r > 0 and dpo.lora.quantisation != QUANTISATIONS[0]
    return f"{dpo.precision.name}{JOINT}{dpo.lora.quantisation}" if quantised else dpo.precision.name


def working_of(word: str) -> Working:
    """Return what a word of `working_precision` means."""
    computed, _, quantisation = word.partition(JOINT)
    return Working(computed, quantisation or QUANTISATIONS[0])
