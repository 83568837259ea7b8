"""SimPO and ORPO: preferences between mean log-probs of a token, without a reference.

TRL's own trainers of them (trl.experimental) take texts, which they template and tokenise again, and hold the logits of
whole passes; here their loss is computed on our tokens, with DPOTrainer's forward pass, and tested against theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from notus_exp.training.forward import Forward
from notus_exp.training.trainer import PairTrainer, accuracy

NEVER_CERTAIN = -1e-6
"""Mean log-prob (nats) above which a response's odds are taken as at it: those of a certain one are infinite."""


class AveragedTrainer(PairTrainer, ABC):
    """`PairTrainer` whose pairs are compared by their responses' mean log-probs; a reward is beta times that.

    `beta` and `gamma_beta_ratio` are the recipe's. The loss that a subclass computes stands in the place of the first
    loss type; `sft` may stand beside it.
    """

    beta: float
    gamma_beta_ratio: float = 0.0

    @abstractmethod
    def _terms(self, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        """Return the loss of each pair, shape (pairs,), of mean log-probs (pairs,) of its responses."""

    def _compared(self, forward: Forward, inputs: dict[str, Any]) -> torch.Tensor:
        losses, weights = self.loss_types, self.loss_weights
        self.loss_types, self.loss_weights = [], []
        try:
            super()._compared(forward, inputs)  # for the forward pass and its metrics
        finally:
            self.loss_types, self.loss_weights = losses, weights
        lengths = inputs["completion_mask"][:, 1:].sum(dim=1).clamp(min=1)
        chosen, rejected = (forward.weighed_log_probs.sum(dim=1) / lengths).chunk(2)
        self._log_rewards(self.beta * chosen.detach(), self.beta * rejected.detach())
        return self._terms(chosen, rejected).mean()

    def _log_rewards(self, *rewards: torch.Tensor) -> None:
        chosen, rejected = (self.accelerator.gather(one) for one in rewards)
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["rewards/chosen"][-1] = chosen.mean().item()
        metrics["rewards/rejected"][-1] = rejected.mean().item()
        metrics["rewards/margins"][-1] = (chosen - rejected).mean().item()
        metrics["rewards/accuracies"][-1] = accuracy(chosen, rejected)


class SimpoTrainer(AveragedTrainer):
    """SimPO (Meng, Xia and Chen 2024, arXiv 2405.14734, equation 6): -log sigmoid(beta (m_w - m_l) - gamma).

    m is the mean log-prob of a token, and gamma, the reward's target margin, `gamma_beta_ratio` times beta. With
    `dpo.cpo_alpha` above 0 the mean negative log-prob of the chosen tokens is added, which its authors call CPO-SimPO.
    """

    def _terms(self, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return -logsigmoid(self.beta * (chosen - rejected - self.gamma_beta_ratio))


class OrpoTrainer(AveragedTrainer):
    """ORPO (Hong, Lee and Thorne 2024, arXiv 2403.07691, equations 6 and 7): NLL - beta log sigmoid(log odds ratio).

    The odds of a response are p / (1 - p) with log p its mean log-prob, and beta is the paper's lambda. The NLL is that
    of the tokens of prompt and chosen response, as the authors and TRL compute it.
    """

    likely_prompts = True

    def _terms(self, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        chosen, rejected = (means.float().clamp(max=NEVER_CERTAIN) for means in (chosen, rejected))
        odds_ratio = chosen - rejected - (_log_of_the_rest(chosen) - _log_of_the_rest(rejected))
        return -self.beta * logsigmoid(odds_ratio)


def _log_of_the_rest(log_probs: torch.Tensor) -> torch.Tensor:
    """Return log(1 - p) of log p < 0."""
    return torch.log(-torch.expm1(log_probs))
