"""Log-probs of completions under a model: the sums that DPO compares, and the logits behind them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from transformers import PreTrainedModel

from notus_exp.errors import UserError
from notus_exp.models.encoding import Encoded
from notus_exp.models.pretrained import autocast
from notus_exp.stages.context import Context

PROGRESS_SECONDS = 0.5


@torch.inference_mode()
def completion_logits(
    model: PreTrainedModel, encoded: Sequence[Encoded], precision: str, device: torch.device
) -> list[torch.Tensor]:
    """Return the logits that predict each token of each completion, from one forward pass.

    The batch is padded at the right, where causal attention lets no padding reach a real position. The head is computed
    only from the first position that predicts a completion token to the last.

    Args:
        model: In evaluation mode, on `device`.
        encoded: Prompts (at least one token each) with their completions, n of them.
        precision: What the forward pass computes in.
        device: Where the model is.

    Returns:
        n tensors of shape (completion tokens, vocabulary), in the dtype that the model computes logits in.
    """
    if any(not item.prompt_ids for item in encoded):
        raise ValueError("a prompt without tokens: nothing predicts the completion's first token")
    # The last token predicts nothing that is asked for.
    rows = [(item.prompt_ids + item.completion_ids)[:-1] for item in encoded]
    lengths = [len(row) for row in rows]
    first = min(len(item.prompt_ids) for item in encoded) - 1
    width = max(lengths)
    if first >= width:  # every completion is empty
        return [torch.zeros(0, model.config.vocab_size, device=device) for _ in encoded]
    input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask = None  # without padding the causal mask is all there is, and attention takes its fast path
    if min(lengths) < width:
        mask = (torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]).to(device=device, dtype=torch.long)
    kept = torch.arange(first, width, device=device)
    with autocast(precision, device):
        logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits
    starts = [len(item.prompt_ids) - 1 - first for item in encoded]
    return [
        logits[i, start : start + len(item.completion_ids)]
        for i, (start, item) in enumerate(zip(starts, encoded, strict=True))
    ]


@torch.inference_mode()
def completion_logps(
    model: PreTrainedModel, encoded: Sequence[Encoded], precision: str, device: torch.device
) -> list[float]:
    """Return log p(completion | prompt) for each item: the sum over its tokens, in nats.

    The same quantity as TRL's `compute_ref_log_probs`: log-softmax in float32, summed here in float64.

    Args:
        model: In evaluation mode, on `device`.
        encoded: The batch, n prompts with their completions.
        precision: What the forward pass computes in.
        device: Where the model is.
    """
    sums = []
    for logits, item in zip(completion_logits(model, encoded, precision, device), encoded, strict=True):
        ids = torch.tensor(item.completion_ids, dtype=torch.long, device=device)
        logps = F.log_softmax(logits.float(), dim=-1).gather(1, ids[:, None])
        sums.append(logps.double().sum().item())
    return sums


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
