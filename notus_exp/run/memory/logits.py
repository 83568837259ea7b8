"""What the head holds: TRL's, which goes through tokens and vocabulary in tiles, and the logits of our own scoring."""

from __future__ import annotations

from notus_exp.config.hardware_settings import Device
from notus_exp.models.shapes import Shape
from notus_exp.run.memory.number_sizes import FLOAT32

TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
"""Of a tile of TRL 1.16's fused head (trl/kernels/chunked_logprob.py)."""
SCORED_NUMBERS = 2**23
"""Logits that our own scoring makes at once (`models/scorer.CHUNK_NUMBERS`)."""
FORWARD_COPIES, BACKWARD_COPIES = 3.0, 7.25
"""Float32 copies of a tile that it holds at once where it has no Triton kernel, which works in place: in the forward
pass the scaled logits, their exponentials and these times the logits; in the backward pass the scaled and the shifted
logits, their logarithm and exponential, the gradient, where the labels are, and two terms of their difference."""


def head_forward(shape: Shape, tokens: int, computed: int, device: Device) -> float:
    """Return the bytes of the fused head's forward pass over so many tokens."""
    return _tile(tokens, computed) + (FORWARD_COPIES * _copy(shape, tokens) if device is not Device.cuda else 0.0)


def head_backward(shape: Shape, tokens: int, computed: int, device: Device) -> float:
    """Return the bytes of its backward pass, but for the gradient of its weights: tiles, and the tokens' gradients."""
    copies = BACKWARD_COPIES * _copy(shape, tokens) if device is not Device.cuda else 0.0
    gradients = tokens * shape.hidden * (FLOAT32 + (computed if computed != FLOAT32 else 0))
    return _tile(tokens, computed) + copies + gradients


def scoring(shape: Shape, tokens: int, computed: int) -> float:
    """Return the bytes of the logits of texts that are scored: a chunk of them, in float32 too, and as log-probs."""
    return min(tokens * shape.vocabulary, SCORED_NUMBERS) * (computed + 2 * FLOAT32)


def _tile(tokens: int, computed: int) -> float:
    return min(tokens, TILE_TOKENS) * TILE_VOCABULARY * computed


def _copy(shape: Shape, tokens: int) -> float:
    return min(tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY) * FLOAT32
