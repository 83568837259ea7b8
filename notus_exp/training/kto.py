"""TRL's KTOTrainer on pairs: each is a desirable and an undesirable response, and its batch's others a reference point.

KTO (Ethayarajh et al. 2024, arXiv 2402.01306, equation 8) compares a response's log-ratio with z0, an estimate of the
divergence of policy and reference: the mean log-ratio of responses of the same batch after other prompts. TRL takes the
responses of one pass; here they are those of the global batch, so that passes cannot move a result. That fixes the
order of training: one order by the seed, the same in each epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl
import torch
from trl import KTOTrainer

from notus_exp.errors import UserError
from notus_exp.models.encoding import Encoded
from notus_exp.training.dealing import ABSENT, StandIn
from notus_exp.training.forward import Forward, completion_positions_only
from notus_exp.training.prepared import EVALUATED, PreparedTrainer
from notus_exp.training.throughput import REFERENCE_POINT
from notus_exp.training.trainer import accuracy

_OTHERS = [
    {
        **{name: [0] for name in ("prompt_ids", "completion_ids", "KL_completion_ids")},
        **{"label": label, "ref_logps": 0.0, "ref_KL_logps": 0.0},
    }
    for label in (True, False)
]


class KtoTrainer(PreparedTrainer, KTOTrainer):  # type: ignore[misc]
    """KTOTrainer over the rows of `responses`, two a pair; an evaluation's z0 is that of all its pairs."""

    rows_of_pair = 2
    beta: float
    model_wrapped: torch.nn.Module
    _z0 = 0.0

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.data_collator = StandIn(self.data_collator, _OTHERS)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Estimate z0 on the passes of a global batch, before any of them is trained on, and count its pairs."""
        self.meter.lap("data")
        self._z0 = self._estimate(batch_samples)
        self.meter.lap(REFERENCE_POINT)
        pairs = sum(len(inputs["label"]) / 2 for inputs in batch_samples if ABSENT not in inputs)
        counted: torch.Tensor = self.accelerator.gather(torch.tensor([float(pairs)], device=device))
        return counted.sum()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate, with z0 estimated on all pairs that are evaluated."""
        self._z0 = self._estimate(self.get_eval_dataloader())
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        return metrics

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return a pass's part of the global batch's mean loss; without `num_items_in_batch`, the pass's own mean."""
        loss = super().compute_loss(model, inputs, return_outputs)
        if ABSENT in inputs:  # it takes part in what the processes exchange, and adds nothing
            return loss * 0.0
        if num_items_in_batch is None:
            return loss
        return loss * (len(inputs["label"]) / 2 / num_items_in_batch) * self.accelerator.num_processes

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool) -> Any:
        forward = Forward(model)
        # TRL subtracts these from what `_compute_kl_logps` returns: the difference is the global batch's
        known = {"ref_KL_logps": torch.zeros_like(inputs["ref_KL_logps"])}
        with completion_positions_only():
            loss = super()._compute_loss(forward, {**inputs, **known}, False)
        rewards = self.beta * (forward.log_probs.detach().sum(dim=1) - inputs["ref_logps"].to(forward.log_probs.device))
        chosen, rejected = (self.accelerator.gather(rewards[inputs["label"] == kind]) for kind in (True, False))
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["pairs"].append(float(len(chosen)))
        metrics["rewards/accuracies"].append(accuracy(chosen, rejected))
        pairs = len(inputs["label"]) // 2
        metrics["losses/preference"].append(self.mean_over_pairs(loss, pairs))
        if not self._alone():
            metrics[EVALUATED].append(self.mean_over_pairs(loss, pairs))
        return (loss, None) if return_outputs else loss

    def _compute_kl_logps(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        return torch.full_like(batch["ref_KL_logps"], self._z0)

    def _estimate(self, passes: Iterable[dict[str, Any]]) -> float:
        """Return the mean log-ratio (nats) of responses after other prompts; TRL takes what is negative as 0.

        Without dropout: what it draws would be another thing in a training that is resumed.
        """
        total = torch.zeros(2, device=self.accelerator.device)
        trains = self.model_wrapped.training
        self.model_wrapped.eval()
        for given in passes:
            inputs = self._prepare_inputs({name: value for name, value in given.items() if name != ABSENT})
            with self.compute_loss_context_manager(), completion_positions_only():
                logps = super()._compute_kl_logps(self.model_wrapped, inputs)
            ratios = logps.float() - inputs["ref_KL_logps"]
            if ABSENT not in given:
                total += torch.stack([ratios.sum(), torch.full_like(ratios, 1.0).sum()])
        self.model_wrapped.train(trains)
        summed, number = self.accelerator.gather(total.unsqueeze(0)).sum(dim=0).tolist()
        return summed / number if number else 0.0


def responses(
    rows: pl.DataFrame,
    batch: int,
    max_length: int,
    logps_of: Callable[[list[Encoded]], list[float]],
    beside: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return pairs as KTO's rows, two each: the chosen response as desirable, the rejected one as undesirable.

    Args:
        rows: Pairs (columns `trainer.COLUMNS`) in the order in which they are trained on.
        batch: Pairs of a global batch: within each the responses are those of the pair before, after other prompts.
        max_length: Tokens that a prompt and another prompt's response may have together; the end is cut.
        logps_of: Returns the reference's log-probs (nats) of texts.
        beside: Pairs that stand in for the others where all have one prompt.

    Raises:
        UserError: There is no pair of another prompt.
    """
    pairs, found = rows.to_dicts(), list[dict[str, Any]]()
    known = pairs + ([] if beside is None else beside.to_dicts())
    prompts = [pair["prompt_ids"] for pair in known]
    for number, pair in enumerate(pairs):
        other = known[neighbour(number, prompts, len(pairs), batch)]
        for side, label in (("chosen", True), ("rejected", False)):
            found.append(
                {
                    "prompt_ids": pair["prompt_ids"],
                    "completion_ids": pair[f"{side}_ids"],
                    "KL_completion_ids": other[f"{side}_ids"][: max_length - len(pair["prompt_ids"])],
                    "label": label,
                    "ref_logps": pair[f"ref_{side}_logps"],
                }
            )
    logps = logps_of([Encoded(row["prompt_ids"], row["KL_completion_ids"]) for row in found])
    return pl.DataFrame(found).with_columns(ref_KL_logps=pl.Series(logps, dtype=pl.Float64))


def neighbour(number: int, prompts: Sequence[Any], pairs: int, batch: int) -> int:
    """Return which pair's responses come after a pair's prompt: that before it in its batch, whose first has the last.

    One of the same prompt is passed over; of a batch without another prompt it is the pair before the batch, or any.

    Args:
        number: The pair.
        prompts: Of the pairs in their order, and of those that may stand in.
        pairs: How many there are without these.
        batch: Pairs of a global batch.

    Raises:
        UserError: All have one prompt.
    """
    first = number - number % batch
    size = min(batch, pairs - first)
    own: Iterable[int] = (first + (number - first - back) % size for back in range(1, size))
    other: int
    for other in (*own, *range(first - 1, -1, -1), *range(first + size, len(prompts))):
        if prompts[other] != prompts[number]:
            return other
    raise UserError("dpo.algorithm=kto needs pairs of two prompts at least, and all are of one", "add prompts")


def in_order(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return pairs in the order in which a seed trains on them."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order.tolist()]
