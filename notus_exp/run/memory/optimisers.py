"""What an optimiser keeps of each weight that it trains, and needs for a moment in a step."""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.hardware_settings import Device
from notus_exp.models.shapes import Shape
from notus_exp.run.memory.number_sizes import FLOAT32

STATES = {
    "adamw_torch": 2, "adamw_torch_fused": 2, "rmsprop": 1, "sgd": 0,
    "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2, "paged_adamw_32bit": 2, "rmsprop_bnb_8bit": 1,
}  # fmt: skip
"""Optimiser -> numbers that it keeps of each weight; adafactor's are of rows and columns."""
EIGHT_BITS = 1 + FLOAT32 / 256
"""Bytes of a number in 8 bits: bitsandbytes keeps a scale in float32 for each 256 of them."""
FOREACH = {"adamw_torch": 1, "rmsprop": 1}
"""Optimisers that torch runs over all weights at once on a GPU -> numbers of each that this takes for a moment."""


class Trained(NamedTuple):
    """What is trained.

    Attributes:
        weights: How many weights.
        embedding: Those of an embedding among them.
        largest: Those of the largest tensor.
        edges: Rows and columns of all of them.
        tensors: Weights of a tensor -> how many such tensors there are.
    """

    weights: int
    embedding: int
    largest: int
    edges: int
    tensors: tuple[tuple[int, int], ...]


def trained(shape: Shape, adapter: int) -> Trained:
    """Return what a training updates: `adapter` weights of LoRA, or all where that is 0."""
    if adapter:
        mean = adapter // (2 * shape.layers)  # at most: an adapter's halves on a block
        return Trained(adapter, 0, mean, adapter, ((mean, 2 * shape.layers),))
    widths = list(shape.linear().values())
    edges = shape.layers * sum(wide + out for wide, out in widths)
    head = shape.vocabulary + shape.hidden
    copies = 1 if shape.tied else 2
    tensors = (*((wide * out, shape.layers) for wide, out in widths), (shape.embedding, copies))
    largest = max(size for size, _ in tensors)
    return Trained(shape.parameters, shape.embedding, largest, edges + head * copies, tensors)


def state(optimizer: str, one: Trained, number: int) -> float:
    """Return the bytes that an optimiser keeps; `number` are those of a trained weight."""
    if optimizer == "adafactor":
        return FLOAT32 * one.edges
    kept = STATES[optimizer]
    if optimizer.endswith("_8bit"):  # transformers keeps those of embeddings in 32 bits
        return kept * (EIGHT_BITS * (one.weights - one.embedding) + FLOAT32 * one.embedding)
    if optimizer == "paged_adamw_32bit":
        return kept * FLOAT32 * one.weights
    return kept * number * one.weights


def is_paged(optimizer: str) -> bool:
    """Say whether a GPU pages the optimiser's state out to the machine's memory."""
    return optimizer.startswith("paged_")


def momentary(optimizer: str, one: Trained, number: int, device: Device, weight_decay: float) -> float:
    """Return the bytes that a step needs for a moment."""
    if optimizer == "adafactor":
        return 3 * FLOAT32 * one.largest
    if device is Device.cpu or optimizer not in (*FOREACH, "sgd"):
        return 2 * number * one.largest if optimizer in ("adamw_torch", "rmsprop") else 0.0
    decayed = 1 if weight_decay and optimizer in ("rmsprop", "sgd") else 0
    return (FOREACH.get(optimizer, 0) + decayed) * number * one.weights
