"""What scoring and generation hold: weights in the working precision, a batch of logits, a cache of keys and values."""

from __future__ import annotations

from notus_exp.config.hardware_settings import Hardware
from notus_exp.models.shapes import Shape
from notus_exp.run.memory import activations, logits
from notus_exp.run.memory.activations import Pass
from notus_exp.run.memory.need import Need
from notus_exp.run.memory.number_sizes import FLOAT32


def scoring(stage: str, shape: Shape, weights: float, computed: int, length: int, hardware: Hardware) -> list[Need]:
    """Return what a batch of texts of `length` tokens holds while their log-probs are computed."""
    one = Pass(hardware.scoring_batch_size, length, hardware.attention, hardware.device)
    stream = computed * shape.hidden * one.tokens
    inside = activations.forward_only(shape, computed, one) * one.tokens
    return [
        Need(stage, "forward pass", {"weights": weights, "activations": stream + inside}),
        Need(
            stage,
            "log-probs",
            {
                "weights": weights,
                "activations": 2 * stream,
                "logits": logits.scoring(shape, one.tokens, computed),
            },
        ),
    ]


def generation(
    stage: str, shape: Shape, weights: float, computed: int, prompt: int, new: int, hardware: Hardware
) -> list[Need]:
    """Return what a batch of answers of `new` tokens to prompts of `prompt` holds: at its beginning and its end."""
    rows = hardware.generation_batch_size
    one = Pass(rows, prompt, hardware.attention, hardware.device)
    token = 2.0 * shape.layers * shape.keys * computed  # keys and values
    last = rows * shape.vocabulary * (computed + 3 * FLOAT32)  # of a batch's last tokens, scaled and compared
    inside = activations.forward_only(shape, computed, one) * one.tokens
    cache = rows * (prompt + new) * token
    return [
        Need(
            stage, "prompts", {"weights": weights, "cache": one.tokens * token, "activations": inside, "logits": last}
        ),
        Need(stage, "last token", {"weights": weights, "cache": cache + cache / shape.layers, "logits": last}),
    ]
