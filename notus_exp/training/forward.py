"""A model's forward pass as TRL's trainers make it: its log-probs are remembered, and gradients weighed by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import trl.trainer.utils as trl_utils


class Forward:
    """What is given to TRL in a model's place: it calls the model, and knows afterwards what came out.

    Args:
        model: With TRL's fused head.
        weights: Of each row of the pass, by which the gradient of its tokens' log-probs is multiplied; no value moves.
        beside: Mask (n, positions + 1) of tokens of the first n rows whose log-probs are wanted too, though they are no
            completion's.

    Attributes:
        log_probs: Of each token (rows, positions), 0 where none is wanted; their gradient is not weighed.
        weighed_log_probs: Of each completion's token, as TRL sees them, 0 at others.
    """

    log_probs: torch.Tensor
    weighed_log_probs: torch.Tensor

    def __init__(
        self, model: Callable[..., Any], weights: torch.Tensor | None = None, beside: torch.Tensor | None = None
    ) -> None:
        self._model, self._weights, self._beside = model, weights, beside

    def __call__(self, *, labels: torch.Tensor, **inputs: Any) -> Any:
        """Return the model's outputs for the completions' tokens, which are those that have a label."""
        wanted = labels
        if self._beside is not None:
            rows = len(self._beside)
            more = inputs["input_ids"][:rows].masked_fill(self._beside == 0, -100)
            wanted = torch.cat([more, labels[rows:]])
        outputs = self._model(labels=wanted, **inputs)
        self.log_probs = outputs.log_probs
        of_completions = self.log_probs if wanted is labels else self.log_probs.masked_fill(labels[:, 1:] == -100, 0)
        self.weighed_log_probs = outputs.log_probs = weighed(of_completions, self._weights)
        return outputs


def weighed(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the same values, whose gradient is multiplied by a weight of each row: values (rows, n), weights (rows,).

    A loss that is a mean of terms of one pair each then has the gradient of the mean of terms times weights, whatever
    the terms are: TRL takes the mean where no override reaches.
    """
    if weights is None or not values.requires_grad:
        return values
    view, by_row = values.view_as(values), weights.unsqueeze(1).to(values.device)
    view.register_hook(lambda gradient: gradient * by_row)  # type: ignore[no-untyped-call]
    return view


@contextmanager
def completion_positions_only() -> Iterator[None]:
    """Let TRL's fused LM head project the positions of the completions alone, on the CPU as it does on a GPU.

    Off a GPU it projects the prompts too and masks the result afterwards; with a vocabulary of 49,000 and small hidden
    states that is a quarter of a step's time. Only the choice of positions hangs on the name that is replaced here.
    """
    original = trl_utils._use_triton
    trl_utils._use_triton = lambda device: True
    try:
        yield
    finally:
        trl_utils._use_triton = original
