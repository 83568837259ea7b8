"""Noise by which a token is drawn: a function of prompt, step and token alone, computed where the model is.

The bits are those of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), whose
nth output is known without those before it: whole numbers, so a CPU and a GPU have the same ones.
"""

from __future__ import annotations

import torch


def _signed(value: int) -> int:
    """Return the int64 with the bits of an unsigned number of 64 bits."""
    return value - 2**64 if value >= 2**63 else value


_STEP = 0x9E3779B97F4A7C15
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)
_BLOCK = 2**17
"""Numbers that are made at once on the CPU, so that they stay in its cache: a third of the time."""
_BELOW_ONE = 1 - 2**-24


def splitmix(seeds: torch.Tensor, places: torch.Tensor | int) -> torch.Tensor:
    """Return the outputs (int64) of splitmix64 generators at some places, the first of which is 1.

    Args:
        seeds: Of the generators, int64.
        places: Of the outputs, of a shape that goes with that of `seeds`.
    """
    far = _signed(places * _STEP % 2**64) if isinstance(places, int) else places * _signed(_STEP)
    bits = seeds + far  # both wrap around, as they should
    shifted = torch.empty_like(bits)
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        torch.bitwise_right_shift(bits, shift, out=shifted)
        shifted &= (1 << (64 - shift)) - 1  # torch's shift keeps the sign
        bits ^= shifted
        bits *= factor
    return bits


def gumbel(seeds: torch.Tensor, step: int, vocabulary: int) -> torch.Tensor:
    """Return noise of the standard Gumbel distribution, -log(-log(u)), for each token of a step.

    -log(u) is the exponential -log1p(-w), with w of 31 bits in (0, 1): its small values, which win, are exact.

    Args:
        seeds: Of each row's stream, shape (rows,), int64, on the device that computes.
        step: Number of the token that is drawn, from 0.
        vocabulary: How many tokens there are.

    Returns:
        Shape (rows, vocabulary), float32.
    """
    streams = splitmix(splitmix(seeds, 1), step + 1)
    tokens = torch.arange(1, vocabulary + 1, device=seeds.device)
    noise = torch.empty(len(seeds), vocabulary, device=seeds.device)
    rows = max(1, _BLOCK // vocabulary) if seeds.device.type == "cpu" else max(1, len(seeds))
    for start in range(0, len(seeds), rows):
        bits = splitmix(streams[start : start + rows, None], tokens)
        bits >>= 33
        bits &= 2**31 - 1
        block = noise[start : start + rows]
        block.copy_(bits)
        block.add_(0.5).mul_(2.0**-31).clamp_(max=_BELOW_ONE).neg_().log1p_().neg_().log_().neg_()
    return noise
