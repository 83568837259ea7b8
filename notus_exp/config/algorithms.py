"""What a training algorithm reads: whether it needs the reference, for which every plan asks here."""

from __future__ import annotations

from notus_exp.config.training_settings import DPO
from notus_exp.errors import UserError

PREFERENCE_FREE = frozenset({"sft"})
"""Losses that read the chosen responses alone, and so no reference either."""

COUPLED = frozenset({"aot", "aot_unpaired", "bco_pair"})
"""Losses in which a pair's term depends on the other pairs, so that none of it is a pair's own to weigh: aot sorts a
batch (Melnyk et al. 2024, arXiv 2406.05882), BCO shifts rewards by their mean (Jung et al. 2024, arXiv 2404.04656)."""

DIVERGING = frozenset({"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft"})
"""Losses beside which another divergence than reverse KL has a meaning: in the others the reward's unknown part, which
depends on the prompt alone, does not cancel (Wang et al. 2023, arXiv 2309.16240, section 4)."""
UNWEIGHABLE = {
    "aot": "sorts a batch's pairs, so no weight stays with its pair",
    "aot_unpaired": "sorts a batch's pairs, so no weight stays with its pair",
    "hinge": "cannot be weighed in TRL, which changes in place what the gradient needs",
}
"""Losses that WPO's weights cannot be multiplied into, and why."""


def needs_reference(dpo: DPO) -> bool:
    """Say whether a recipe trains with the reference's log-probs; an evaluation may need them all the same.

    Args:
        dpo: The recipe; its losses are already checked.
    """
    return not set(dpo.loss_type) <= PREFERENCE_FREE


def check_weights(dpo: DPO) -> None:
    """Refuse weights of pairs where the loss is no sum of terms of one pair each.

    Raises:
        UserError: Naming the loss.
    """
    coupled = sorted(COUPLED.intersection(dpo.loss_type))
    if coupled:
        raise UserError(
            f"dpo.loss_type=[{', '.join(dpo.loss_type)}] cannot weigh pairs: {coupled[0]} is no sum over them",
            "leave pairs.weight out, or choose another loss, such as dpo.loss_type=[sigmoid]",
        )
