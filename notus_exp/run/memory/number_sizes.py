"""In how many bytes a training holds its numbers: weights, gradients, and what passes through them."""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.training_settings import DPO, MasterWeights, Precision
from notus_exp.models.shapes import Shape

FLOAT32, HALF = 4, 2


class Numbers(NamedTuple):
    """Bytes of one number each.

    Attributes:
        computed: Of activations.
        weight: Of a weight as it lies on the device: of LoRA a frozen one.
        trained: Of a weight that is trained, as the optimiser updates it.
        gradient: Of its gradient.
        residual: Of the stream between blocks.
        cast: Whether each pass makes copies of the weights in 16 bits (torch's autocast keeps them to the pass's end).
        masters: Of a float32 copy that the optimiser keeps beside the trained weight, 0 for none (DeepSpeed).
    """

    computed: int
    weight: int
    trained: int
    gradient: int
    residual: int
    cast: bool = False
    masters: int = 0


def bytes_of(precision: Precision) -> int:
    """Return the bytes of a number in a precision."""
    return FLOAT32 if precision is Precision.float32 else HALF


BASE_BYTES = {"none": None, "int8": 1 + FLOAT32 / 4096, "nf4": 0.5 + (1 + FLOAT32 / 256) / 64}
"""Bytes of a weight of a quantised linear layer, with its share of the scales: one a row, and one in 8 bits for each 64
weights, of which each 256 have one in float32."""


def base_bytes(shape: Shape, computed: int, quantisation: str) -> float:
    """Return the bytes of a model's weights as they are loaded: those of its blocks' linear layers may be quantised."""
    held = BASE_BYTES[quantisation]
    linear = shape.layers * shape.block_linear
    return float(computed * (shape.parameters - linear) + (computed if held is None else held) * linear)


def numbers_of(dpo: DPO, hardware: Hardware) -> Numbers:
    """Return how a recipe's training holds its numbers on a machine."""
    computed = bytes_of(dpo.precision)
    if dpo.lora.r > 0:
        return Numbers(computed, computed, FLOAT32, FLOAT32, computed)
    if computed == FLOAT32:
        return Numbers(FLOAT32, FLOAT32, FLOAT32, FLOAT32, FLOAT32)
    if dpo.master_weights is MasterWeights.same:
        return Numbers(HALF, HALF, HALF, HALF, HALF)
    if hardware.launch is Launch.deepspeed:
        summed = FLOAT32 if (hardware.zero_stage or 0) > 1 else HALF  # as `zero_config` says
        return Numbers(HALF, HALF, HALF, summed, HALF, masters=FLOAT32)
    if hardware.launch is Launch.fsdp2:
        return Numbers(HALF, FLOAT32, FLOAT32, FLOAT32, HALF)
    return Numbers(HALF, FLOAT32, FLOAT32, FLOAT32, FLOAT32, cast=True)
