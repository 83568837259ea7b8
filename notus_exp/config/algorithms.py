"""What a training algorithm reads of the recipe, and whether it needs the reference: for which every plan asks here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

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
REFERENCED = frozenset({"dpo", "kto"})
"""Algorithms that compare the policy with the reference."""
READ_BY = {
    "loss_type": ("dpo",),
    "loss_weights": ("dpo",),
    "label_smoothing": ("dpo",),
    "f_divergence_type": ("dpo",),
    "f_alpha_divergence_coef": ("dpo",),
    "ld_alpha": ("dpo",),
    "discopop_tau": ("dpo",),
    "use_weighting": ("dpo",),
    "kto_desirable_weight": ("kto",),
    "kto_undesirable_weight": ("kto",),
    "gamma_beta_ratio": ("simpo",),
    "cpo_alpha": ("cpo", "simpo"),
    "batching": ("dpo", "cpo", "simpo", "orpo"),
}
"""Settings that some algorithms alone read -> those."""
UNUSED: dict[str, Any] = {"loss_type": [], "loss_weights": None, "label_smoothing": 0.0}
"""What such a setting must be where it is not read, if it was there from the beginning; a later one must be as it was
before it came."""
NLL_WEIGHTS = {"cpo": 1.0, "simpo": 0.0}
"""What `dpo.cpo_alpha: null` stands for: as published."""


def needs_reference(dpo: DPO) -> bool:
    """Say whether a recipe trains with the reference's log-probs; an evaluation may need them all the same.

    Args:
        dpo: The recipe; its losses are already checked.
    """
    return dpo.algorithm in REFERENCED and not (dpo.algorithm == "dpo" and set(dpo.loss_type) <= PREFERENCE_FREE)


def objective(dpo: DPO) -> tuple[list[str], list[float] | None]:
    """Return the losses by TRL's names, and their weights, that a recipe which trains on pairs adds up.

    CPO is the loss sigmoid, and SimPO's and ORPO's terms stand in the place of sigmoid_norm, each without a reference
    and with the likelihood of the chosen response beside it (`training/averaged.py`).
    """
    if dpo.algorithm == "dpo":
        return list(dpo.loss_type), None if dpo.loss_weights is None else list(dpo.loss_weights)
    compared = "sigmoid" if dpo.algorithm == "cpo" else "sigmoid_norm"
    usual = NLL_WEIGHTS.get(dpo.algorithm, 1.0)
    likelihood = usual if dpo.cpo_alpha is None else dpo.cpo_alpha
    return ([compared, "sft"], [1.0, likelihood]) if likelihood else ([compared], None)


def check_algorithm(dpo: DPO) -> None:
    """Refuse settings that an algorithm does not read.

    Raises:
        UserError: Naming the key, its value, and who reads it.
    """
    for spec in fields(dpo):
        value = getattr(dpo, spec.name)
        readers = READ_BY.get(spec.name, (dpo.algorithm,))
        unused = UNUSED.get(spec.name, spec.metadata.get("since"))
        if dpo.algorithm not in readers and value != unused:
            shown = f"[{', '.join(value)}]" if spec.name == "loss_type" else value
            neutral = "null" if unused is None else unused
            raise UserError(
                f"dpo.{spec.name}={shown} is not read by dpo.algorithm={dpo.algorithm}",
                f"set dpo.{spec.name}={neutral}; it belongs to dpo.algorithm={' or '.join(readers)}",
            )


def check_weights(dpo: DPO) -> None:
    """Refuse weights of pairs where the loss is no sum of terms of one pair each.

    Raises:
        UserError: Naming the loss.
    """
    if dpo.algorithm == "kto":
        raise UserError(
            "dpo.algorithm=kto cannot weigh pairs: its reference point is a mean over the batch",
            "leave pairs.weight out, or choose another algorithm, such as dpo.algorithm=dpo",
        )
    coupled = sorted(COUPLED.intersection(dpo.loss_type))
    if coupled:
        raise UserError(
            f"dpo.loss_type=[{', '.join(dpo.loss_type)}] cannot weigh pairs: {coupled[0]} is no sum over them",
            "leave pairs.weight out, or choose another loss, such as dpo.loss_type=[sigmoid]",
        )
