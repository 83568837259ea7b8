"""TRL's SFTTrainer on conversations that are tokens and labels already: means are over the tokens that are learnt."""

from __future__ import annotations

from typing import Any

import torch
from trl import SFTTrainer

from notus_exp.training.dealing import ABSENT, StandIn, gathered_by_row
from notus_exp.training.forward import completion_positions_only
from notus_exp.training.prepared import EVALUATED, PreparedTrainer

_OTHER = {"input_ids": [0, 0], "labels": [-100, 0]}


class SupervisedTrainer(PreparedTrainer, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer over datasets with the columns `input_ids` and `labels`.

    The loss is the mean negative log-prob of a labelled token over a global batch, and what is logged are such means
    too, so that neither passes nor processes can move a result.
    """

    data_collator: Any

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.data_collator = StandIn(self.data_collator, [_OTHER])

    def lengths(self, dataset: Any) -> list[int]:
        """Return the tokens of each conversation."""
        return [*map(len, dataset["input_ids"])]

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Count the labelled tokens of a global batch over all its passes and processes."""
        own = sum(int(_labelled(inputs)) for inputs in batch_samples if ABSENT not in inputs)
        counted: torch.Tensor = self.accelerator.gather(torch.tensor([float(own)], device=device))
        return counted.sum()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return a pass's part of the global batch's mean loss; without `num_items_in_batch`, the pass's own mean."""
        absent, own = ABSENT in inputs, _labelled(inputs).float()
        with completion_positions_only():
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        metrics = self._metrics["train" if self.model.training else "eval"]
        with gathered_by_row(self.accelerator, absent=absent):
            tokens = self.accelerator.gather(own.reshape(1)).sum()
            metrics["pairs"].append(tokens.item())  # what `log` weighs a pass by
            if num_items_in_batch is None:
                summed = self.accelerator.gather((loss.detach() * own).reshape(1)).sum()
                metrics[EVALUATED].append((summed / tokens).item())
        return loss * 0.0 if absent else loss  # a stand-in takes part in what processes exchange, and adds nothing


def _labelled(inputs: dict[str, Any]) -> torch.Tensor:
    """Return how many tokens of a pass are learnt: the first of a text has nothing before it."""
    counted: torch.Tensor = (inputs["labels"][:, 1:] != -100).sum()
    return counted
