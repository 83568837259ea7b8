"""What scorings of completions share: batches of like lengths, finite sums, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from notus_exp.errors import UserError
from notus_exp.models.encoding import Encoded
from notus_exp.stages.context import Context

PROGRESS_SECONDS = 0.5


def batches(encoded: Sequence[Encoded], keys: Sequence[str], size: int) -> Iterator[list[int]]:
    """Yield positions in batches of `size`, in the order of (tokens, key): like lengths meet, and padding is little.

    A function of what is given, whatever its order.
    """
    order = sorted(range(len(encoded)), key=lambda i: (tokens_of(encoded[i]), keys[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def tokens_of(item: Encoded) -> int:
    """Return how many tokens a prompt has with its completion."""
    return len(item.prompt_ids) + len(item.completion_ids)


def require_finite(logps: Sequence[float], whose: str, precision: str) -> None:
    """Stop where a log-prob is infinite or not a number, which nothing after it could mend.

    Raises:
        UserError: Names the model, as `whose`, and the precision.
    """
    if not all(math.isfinite(logp) for logp in logps):
        raise UserError(
            f"{whose} gives a log-prob that is not finite in dpo.precision={precision}",
            "use dpo.precision=float32 or bfloat16; in float32 the weights themselves are at fault",
        )


class Progress:
    """Moves the progress bar by tokens, at most twice a second.

    Args:
        context: Where progress is reported.
        total: Tokens to go through the model.
    """

    def __init__(self, context: Context, total: int) -> None:
        self.done = 0
        self._context = context
        self._total = total
        self._start = self._told = time.monotonic()

    def add(self, tokens: int) -> None:
        """Count tokens that are done."""
        self.done += tokens
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS or self.done >= self._total:
            self._told = now
            speed = self.done / max(now - self._start, 1e-9)
            self._context.events.progress(self.done, self._total, tokens_per_second=round(speed, 1))
