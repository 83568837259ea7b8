"""TRL's DPOTrainer on pairs that are tokenised already and whose reference log-probs are known.

Beside what `prepared.py` says it averages losses over the pairs of a global batch, and SFT's over its chosen tokens, so
that micro-batches and accumulation cannot move a result; weighs pairs; and spends no time on the prompts' logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from trl import DPOTrainer

from notus_exp.training.dealing import ABSENT, StandIn
from notus_exp.training.forward import Forward, completion_positions_only, weighed
from notus_exp.training.prepared import EVALUATED, PreparedTrainer

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps", "ref_rejected_logps")
"""Columns of a dataset that `PairTrainer` takes: token ids (lists of int) and summed log-probs (float).

A recipe that needs no reference has no log-probs: rewards are then beta times the policy's own."""
_OTHER = {**{column: [0] for column in COLUMNS[:3]}, **dict.fromkeys(COLUMNS[3:], 0.0)}
WEIGHT = "weight"
"""A column beside them, of training pairs that are weighed: 1 in the mean."""


class Amounts(NamedTuple):
    """Of some pairs: their number, tokens whose likelihood is trained, and both weighed by the pairs' weights."""

    pairs: float
    tokens: float
    weight: float
    weighed_tokens: float

    @classmethod
    def of(cls, inputs: dict[str, Any], likely: torch.Tensor) -> torch.Tensor:
        """Return those of a pass as a tensor (4,), with the mask (pairs, positions + 1) of those tokens."""
        tokens = likely[:, 1:].sum(dim=1).float()
        weights = inputs.get(WEIGHT, torch.ones_like(tokens)).to(tokens.device)
        return torch.stack([torch.ones_like(tokens).sum(), tokens.sum(), weights.sum(), (weights * tokens).sum()])


class WeighedPairs(NamedTuple):
    """TRL's collator of pairs, and their weights where they have some."""

    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a pass's tensors."""
        weights = [example[WEIGHT] for example in examples if WEIGHT in example]
        return self.collate(examples) | ({WEIGHT: torch.tensor(weights)} if weights else {})


class PairTrainer(PreparedTrainer, DPOTrainer):  # type: ignore[misc]
    """DPOTrainer over datasets with the columns `COLUMNS` and perhaps `WEIGHT`.

    A pair's weight multiplies the gradient of its loss; of SFT's, a mean over tokens, that of its tokens, so that a
    weight of 2 is the row given twice. What is logged, the loss too, are plain means over pairs.
    """

    likely_prompts = False
    """Whether sft is of the prompts' tokens too, beside those of the chosen responses."""
    loss_types: list[str]
    loss_weights: list[float]
    data_collator: Any
    _signature_columns: list[str]
    _sft_factors: tuple[float, float] = (1.0, 1.0)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.data_collator = StandIn(WeighedPairs(self.data_collator), [_OTHER])

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, WEIGHT]

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Sum the `Amounts` of a global batch over all its passes and processes, shape (4,)."""
        counts = torch.zeros(len(Amounts._fields), dtype=torch.float32, device=device)
        for inputs in batch_samples:
            if ABSENT not in inputs:
                counts += Amounts.of(inputs, self._likely(inputs)).to(device)
        gathered: torch.Tensor = self.accelerator.gather(counts.unsqueeze(0))
        return gathered.sum(dim=0)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return a pass's part of the global batch's mean loss; without `num_items_in_batch`, the pass's own mean.

        With n of N pairs and t of T likely tokens in the pass, losses per pair weigh n / N, and the loss sft, which is
        a mean over tokens, t / T: the parts of all passes add up to what a single pass over the global batch gives.
        Where pairs have weights w, the gradient of sft is that of mean(w) sum(w S) / sum(w t) with S the sum over a
        pair's likely tokens. The number of processes is multiplied in because gradients are averaged over them.
        """
        if ABSENT in inputs:  # it takes part in what the processes exchange, and adds nothing
            return super().compute_loss(model, inputs, return_outputs) * 0.0
        own = Amounts.of(inputs, self._likely(inputs))
        part = Amounts(*own.tolist())
        whole = part if num_items_in_batch is None else Amounts(*num_items_in_batch.tolist())
        share, token_share = part.pairs / whole.pairs, part.tokens / whole.tokens
        weight = whole.weight / whole.pairs * whole.tokens / whole.weighed_tokens if whole.weighed_tokens else 0.0
        self._sft_factors = (token_share / share, weight)
        loss = super().compute_loss(model, inputs, return_outputs)
        return loss if num_items_in_batch is None else loss * share * self.accelerator.num_processes

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool) -> Any:
        pairs = len(inputs["completion_mask"]) // 2
        nothing = inputs["completion_mask"].new_zeros(pairs, dtype=torch.float32)
        inputs = {"ref_chosen_logps": nothing, "ref_rejected_logps": nothing, **inputs}
        weights = inputs.pop(WEIGHT, None)
        likely = self._likely(inputs)
        beside = likely if self.likely_prompts else None
        forward = Forward(model, None if weights is None else torch.cat([weights, weights]), beside)
        with completion_positions_only():
            compared = self._compared(forward, inputs)
        metrics = self._metrics["train" if self.model.training else "eval"]
        counted = torch.tensor([float(pairs)], device=self.accelerator.device)
        metrics["pairs"].append(self.accelerator.gather(counted).sum().item())
        loss = compared
        factor, by_token = self._sft_factors
        for name, weight in zip(self.loss_types, self.loss_weights, strict=True):
            if name == "sft":
                share = None if weights is None else weights * by_token
                loss = loss + _sft(forward.log_probs, likely, share) * (weight * factor)
        told = compared if set(self.loss_types) != {"sft"} else loss
        metrics["losses/preference"].append(self.mean_over_pairs(told, pairs))
        if not self._alone():
            metrics[EVALUATED].append(self.mean_over_pairs(loss, pairs))
        return (loss, None) if return_outputs else loss

    def _likely(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the mask (pairs, positions + 1) of the tokens whose likelihood sft raises."""
        mask: torch.Tensor = inputs["attention_mask" if self.likely_prompts else "completion_mask"]
        return mask[: len(mask) // 2]  # the chosen rows are first, then the rejected ones

    def _compared(self, forward: Forward, inputs: dict[str, Any]) -> torch.Tensor:
        """Return TRL's loss of a pass without its sft, and log its metrics; 0 where nothing else is summed.

        TRL's sft is one value for a pass, which no pair's weight and not WPO's either can be multiplied into.
        """
        types, weights = self.loss_types, self.loss_weights
        summed = [(name, weight) for name, weight in zip(types, weights, strict=True) if name != "sft"]
        self.loss_types, self.loss_weights = [name for name, _ in summed], [weight for _, weight in summed]
        pairs = len(inputs["completion_mask"]) // 2
        try:
            with _gathered_by_pair(self.accelerator, pairs) as seen:
                loss = super()._compute_loss(forward, inputs, False)
        finally:
            self.loss_types, self.loss_weights = types, weights
        self._metrics["train" if self.model.training else "eval"]["rewards/accuracies"][-1] = accuracy(*seen[:2])
        return torch.as_tensor(loss, device=self.accelerator.device)


def _sft(log_probs: torch.Tensor, likely: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the mean negative log-prob of a pass's likely tokens, the gradient of each pair's weighed.

    It goes through a value by pair as TRL's does, which keeps its last bits.
    """
    pairs = len(likely)
    loss: torch.Tensor = -weighed(log_probs[:pairs], weights)[likely[:, 1:].bool()].mean()
    return loss.expand(pairs).mean()


@contextmanager
def _gathered_by_pair(accelerator: Any, pairs: int) -> Iterator[list[torch.Tensor]]:
    """Note the values by pair that TRL gathers from all processes: the chosen rewards, the rejected rewards, and more.

    It logs the share of pairs whose chosen reward is higher, which counts a tie as a loss, and keeps no value by pair.
    """
    gather, seen = accelerator.gather, list[torch.Tensor]()

    def note(value: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = gather(value)
        if value.shape == (pairs,):
            seen.append(found)
        return found

    accelerator.gather = note
    try:
        yield seen
    finally:
        accelerator.gather = gather


def accuracy(chosen: torch.Tensor, rejected: torch.Tensor) -> float:
    """Return the share of pairs whose chosen reward is higher; a tie counts half, as it does in the evaluation."""
    return ((chosen > rejected).float() + 0.5 * (chosen == rejected).float()).mean().item()
