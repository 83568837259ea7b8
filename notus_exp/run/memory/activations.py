"""What a block keeps of a forward pass for its backward pass, in bytes a token.

The sums are those of the tensors that autograd saves in transformers' blocks of `config/told_shape.FAMILIES`, one by
one; a test compares them with what it saves. h, i, q, k are the widths of the stream, the MLP, all queries, all keys.
"""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.dpo_checks import ALL_LINEAR
from notus_exp.config.hardware_settings import FLASH, Device
from notus_exp.config.training_settings import Lora
from notus_exp.models.shapes import ATTENTION, MLP, Shape
from notus_exp.run.memory.number_sizes import FLOAT32, HALF, Numbers


class Pass(NamedTuple):
    """A forward pass: `rows` of `length` tokens each, padded to that (or not), by an attention of transformers."""

    rows: int
    length: int
    attention: str
    device: Device
    padded: bool = True

    @property
    def tokens(self) -> int:
        """Tokens with padding."""
        return self.rows * self.length


def block(shape: Shape, numbers: Numbers, lora: Lora, one: Pass) -> float:
    """Return the bytes that a block keeps of each token."""
    c, i = numbers.computed, shape.intermediate
    adapted = shape.adapted(lora.target_modules, ALL_LINEAR) if lora.r > 0 else {}
    norms = 2 * (FLOAT32 * shape.hidden + FLOAT32)  # its input in float32, and the root of its mean square
    gated = 3 * c * i  # the gate before and after its activation, and what it multiplies
    kept = norms + gated + _attention(shape, c, one) + (0 if _unread_output(lora, numbers, one) else c * shape.queries)
    if shape.head_norms:
        kept += (FLOAT32 + c) * (shape.queries + shape.keys)
    if lora.r == 0:
        return kept + _inputs_of_trained(shape, numbers) + c * i
    return (
        kept
        + sum(_adapter(lora, numbers, wide, one) for wide, _ in adapted.values())
        + _shared(shape, lora, numbers, adapted)
    )


def _attention(shape: Shape, c: int, one: Pass) -> float:
    """Queries, keys and values; beside these probabilities, or the sums that stand for them."""
    q, k = shape.queries, shape.keys
    flash = one.attention == FLASH
    repeated = k if flash or (one.attention == "sdpa" and not one.padded) else q
    kept = c * (q + 2 * repeated)
    if one.attention == "eager":
        return kept + shape.heads * one.length * (FLOAT32 + (HALF if c == HALF else 0))
    mask = c * one.length if one.padded and not flash else 0  # each block makes a number of each cell of the mask
    return kept + FLOAT32 * shape.heads + mask


def _unread_output(lora: Lora, numbers: Numbers, one: Pass) -> bool:
    """Say whether nothing needs what comes out of attention: neither eager attention nor a frozen layer after it."""
    kept = "o_proj" in lora.target_modules or ALL_LINEAR in lora.target_modules
    return (
        one.attention == "eager"
        and lora.r > 0
        and not (kept and numbers.trained == numbers.computed and lora.dropout == 0)
    )


def _inputs_of_trained(shape: Shape, numbers: Numbers) -> float:
    """Of the norms and linear layers whose weights are trained: their inputs, but for attention's output."""
    h, c = shape.hidden, numbers.computed
    if numbers.cast:  # the norm in float32, and a copy in 16 bits for each layer that reads it
        return 2 * FLOAT32 * h + HALF * h * 5
    return 2 * (c * h + c * h)


def _shared(shape: Shape, lora: Lora, numbers: Numbers, adapted: dict[str, tuple[int, int]]) -> float:
    """Where nothing is cast and without dropout, what adapters of several layers read is kept once."""
    if numbers.computed != numbers.trained or lora.dropout > 0:
        return 0.0
    readers = ((ATTENTION[:3], shape.hidden), (MLP[:2], shape.hidden), (MLP[2:], shape.intermediate))
    return numbers.computed * sum(width for names, width in readers if any(name in adapted for name in names))


def _adapter(lora: Lora, numbers: Numbers, wide: int, one: Pass) -> float:
    """Of one adapter: its input where that is its own (cast, or after dropout), and what is between its halves."""
    c = numbers.computed
    between = c * lora.r
    mask = (numbers.trained if one.device is Device.cpu else 1) * wide if lora.dropout > 0 else 0
    own = c * wide if numbers.trained != c or lora.dropout > 0 else 0
    return between + mask + own


def passing(shape: Shape, numbers: Numbers, lora: Lora) -> float:
    """Return the bytes of each token that a block's forward pass makes between what it keeps, and frees again.

    What leaves attention and MLP before it joins the stream, and queries, keys and values before they are turned; of
    LoRA also what is kept only where a layer after it is trained, and what frozen layers give before the adapters'.
    """
    h, c = shape.hidden, numbers.computed
    made = numbers.residual * 2 * h + c * (shape.queries + 2 * shape.keys)
    if lora.r == 0:
        return made
    adapted = shape.adapted(lora.target_modules, ALL_LINEAR)
    own = c * (2 * h + (0 if "down_proj" in adapted and lora.dropout == 0 else shape.intermediate))
    return made + own + c * sum(out for _, out in adapted.values())


def working(shape: Shape, numbers: Numbers, one: Pass) -> float:
    """Return the bytes of each token that a block's backward pass needs for a moment: gradients inside its MLP."""
    return 3 * numbers.computed * shape.intermediate + 2 * numbers.residual * shape.hidden


def forward_only(shape: Shape, computed: int, one: Pass) -> float:
    """Return the bytes of each token that a block needs for a moment where nothing is kept: MLP, or attention."""
    h, i, q = shape.hidden, shape.intermediate, shape.queries
    attention = computed * (h + 4 * q + (one.length if one.padded and one.attention == "sdpa" else 0))
    if one.attention == "eager":
        attention += (FLOAT32 + computed) * shape.heads * one.length
    return computed * h + max(computed * (h + 3 * i), attention)
