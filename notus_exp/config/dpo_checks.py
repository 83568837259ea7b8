"""Checks of a training recipe that need no torch: what TRL would ignore or refuse later is refused here, at once."""

from __future__ import annotations

from collections.abc import Callable

from notus_exp.config.algorithms import DIVERGING, PREFERENCE_FREE, UNWEIGHABLE, check_algorithm, needs_reference
from notus_exp.config.training_settings import DPO, QUANTISATIONS, SMOOTHED_LOSSES, MasterWeights, Precision
from notus_exp.errors import UserError

ALL_LINEAR = "all-linear"
"""PEFT's word for every linear layer but the head."""


def check_dpo(dpo: DPO) -> None:
    """Refuse a recipe in which a setting contradicts another or would do nothing.

    Args:
        dpo: The recipe; ranges and option names are already checked (`ranges.check`).

    Raises:
        UserError: Names the key, its value and what to change.
    """
    for check in _CHECKS:
        check(dpo)


def _losses(dpo: DPO) -> None:
    if dpo.algorithm != "dpo":
        return
    if not dpo.loss_type:
        raise UserError("dpo.loss_type=[] names no loss", "dpo.loss_type=[sigmoid] is DPO")
    repeated = sorted({loss for loss in dpo.loss_type if dpo.loss_type.count(loss) > 1})
    if repeated:
        raise UserError(
            f"dpo.loss_type=[{', '.join(dpo.loss_type)}] repeats {', '.join(repeated)}",
            "name each loss once and weigh it with dpo.loss_weights",
        )


def _loss_weights(dpo: DPO) -> None:
    weights = dpo.loss_weights
    if weights is None:
        return
    if len(weights) != len(dpo.loss_type):
        raise UserError(
            f"dpo.loss_weights={weights} has {len(weights)} weights for the {len(dpo.loss_type)} losses of "
            f"dpo.loss_type=[{', '.join(dpo.loss_type)}]",
            "give one weight per loss, or null to weigh each 1",
        )
    if not any(weights):
        raise UserError(f"dpo.loss_weights={weights} leaves no loss", "give one of them a weight above 0")
    compared = [
        weight for loss, weight in zip(dpo.loss_type, weights, strict=True) if loss not in PREFERENCE_FREE and weight
    ]
    if not compared and needs_reference(dpo):
        raise UserError(
            f"dpo.loss_weights={weights} leaves no preference loss with a weight above 0",
            "give sigmoid, or another preference loss, a positive weight; dpo.loss_type=[sft] is training on the "
            "chosen alone",
        )


def _label_smoothing(dpo: DPO) -> None:
    if dpo.label_smoothing > 0 and not SMOOTHED_LOSSES.intersection(dpo.loss_type):
        raise UserError(
            f"dpo.label_smoothing={dpo.label_smoothing} is not read by dpo.loss_type=[{', '.join(dpo.loss_type)}]",
            f"set it to 0.0, or use one of {', '.join(sorted(SMOOTHED_LOSSES))} (robust is DPO for flipped labels)",
        )
    if dpo.label_smoothing == 0 and "exo_pair" in dpo.loss_type:
        raise UserError(
            "dpo.label_smoothing=0.0 leaves the loss exo_pair undefined (it takes its logarithm)",
            "set dpo.label_smoothing=0.001",
        )


def _lengths(dpo: DPO) -> None:
    if dpo.max_prompt_length is not None and dpo.max_prompt_length >= dpo.max_length:
        raise UserError(
            f"dpo.max_prompt_length={dpo.max_prompt_length} leaves no token of dpo.max_length={dpo.max_length} "
            "for a completion",
            "lower dpo.max_prompt_length or raise dpo.max_length",
        )
    if dpo.max_prompt_length is None and dpo.long_prompts.name == "cut":
        raise UserError(
            "dpo.long_prompts=cut does nothing while dpo.max_prompt_length is null",
            "set dpo.max_prompt_length, or dpo.long_prompts=drop",
        )


def _warmup(dpo: DPO) -> None:
    if dpo.warmup >= 1 and not float(dpo.warmup).is_integer():
        raise UserError(
            f"dpo.warmup={dpo.warmup} is neither a share below 1 nor a whole number of steps",
            "0.1 warms up over a tenth of the steps, 10 over ten steps",
        )
    if dpo.lr_scheduler == "constant" and dpo.warmup > 0:
        raise UserError(
            f"dpo.warmup={dpo.warmup} does nothing with dpo.lr_scheduler=constant",
            "use dpo.lr_scheduler=constant_with_warmup, or dpo.warmup=0",
        )


def _lora(dpo: DPO) -> None:
    if dpo.lora.r == 0:
        return
    if not dpo.lora.target_modules:
        raise UserError("dpo.lora.target_modules=[] leaves nothing to train", "name layers, such as [q_proj, v_proj]")
    if ALL_LINEAR in dpo.lora.target_modules and len(dpo.lora.target_modules) > 1:
        raise UserError(
            f"dpo.lora.target_modules=[{', '.join(dpo.lora.target_modules)}] names layers beside {ALL_LINEAR}",
            f"dpo.lora.target_modules=[{ALL_LINEAR}] is all of them",
        )
    if "lm_head" in dpo.lora.target_modules:
        raise UserError(
            f"dpo.lora.target_modules=[{', '.join(dpo.lora.target_modules)}] has lm_head, whose adapter would never be "
            "trained (log-probs are computed from its own weight)",
            "leave lm_head out",
        )


def _master_weights(dpo: DPO) -> None:
    if dpo.master_weights is not MasterWeights.same:
        return
    named, remedy = "dpo.master_weights=same", "leave it at float32"
    if dpo.precision is Precision.float32:
        raise UserError(f"{named} says nothing with dpo.precision=float32, whose weights are float32 anyway", remedy)
    if dpo.precision is Precision.float16:
        raise UserError(
            f"{named} cannot be trained in dpo.precision=float16: its loss scaling needs float32 gradients",
            f"{remedy}, or use dpo.precision=bfloat16",
        )
    if dpo.lora.r > 0:
        raise UserError(
            f"{named} is of trainings of all weights: with dpo.lora.r={dpo.lora.r} the base is in "
            f"{dpo.precision.name} already, and the small adapter stays float32",
            remedy,
        )


def _quantisation(dpo: DPO) -> None:
    quantisation = dpo.lora.quantisation
    if quantisation == QUANTISATIONS[0]:
        return
    named = f"dpo.lora.quantisation={quantisation}"
    if dpo.lora.r == 0:
        raise UserError(
            f"{named} is of LoRA's frozen base, and dpo.lora.r=0 trains all weights", "set dpo.lora.r, such as 16"
        )
    if dpo.precision is not Precision.bfloat16:
        raise UserError(
            f"{named} goes with dpo.precision=bfloat16, in which TRL keeps the adapter over a quantised base, and not "
            f"{dpo.precision.name}",
            "set dpo.precision=bfloat16",
        )


def _reference_point(dpo: DPO) -> None:
    if dpo.algorithm == "kto" and dpo.global_batch_size < 2:
        raise UserError(
            f"dpo.global_batch_size={dpo.global_batch_size} leaves dpo.algorithm=kto no other response of its batch to "
            "estimate its reference point with",
            "set it to 2 or more; the method's authors take 16 pairs",
        )


def _divergence(dpo: DPO) -> None:
    named = f"dpo.f_divergence_type={dpo.f_divergence_type}"
    if dpo.f_alpha_divergence_coef != 0.5 and dpo.f_divergence_type != "alpha_divergence":
        raise UserError(
            f"dpo.f_alpha_divergence_coef={dpo.f_alpha_divergence_coef:g} is not read with {named}",
            "set dpo.f_divergence_type=alpha_divergence, or leave it at 0.5",
        )
    if dpo.f_divergence_type == "reverse_kl":
        return
    others = [loss for loss in dpo.loss_type if loss not in DIVERGING]
    if others:
        raise UserError(
            f"{named} has no meaning for dpo.loss_type={others[0]}",
            f"use dpo.f_divergence_type=reverse_kl, or one of {', '.join(sorted(DIVERGING - PREFERENCE_FREE))}",
        )


def _pull_of_a_reference(dpo: DPO) -> None:
    """Refuse what only a comparison with the reference reads, where there is none."""
    if dpo.algorithm != "dpo":
        return
    asked = {
        f"f_divergence_type={dpo.f_divergence_type}": dpo.f_divergence_type != "reverse_kl",
        f"ld_alpha={dpo.ld_alpha}": dpo.ld_alpha is not None,
        "use_weighting=true": dpo.use_weighting,
    }
    for setting, given in asked.items():
        if given and not needs_reference(dpo):
            raise UserError(
                f"dpo.{setting} is not read by dpo.loss_type=[{', '.join(dpo.loss_type)}]",
                "leave it out, or add a preference loss: dpo.loss_type=[sigmoid,sft]",
            )


def _discopop(dpo: DPO) -> None:
    if dpo.discopop_tau != 0.05 and "discopop" not in dpo.loss_type:
        raise UserError(
            f"dpo.discopop_tau={dpo.discopop_tau:g} is not read by dpo.loss_type=[{', '.join(dpo.loss_type)}]",
            "leave it at 0.05, or use dpo.loss_type=[discopop]",
        )


def _weighting(dpo: DPO) -> None:
    for loss, reason in UNWEIGHABLE.items():
        if dpo.use_weighting and loss in dpo.loss_type:
            raise UserError(f"dpo.use_weighting=true: the loss {loss} {reason}", "set it to false, or drop that loss")


_CHECKS: tuple[Callable[[DPO], None], ...] = (
    check_algorithm,
    _losses,
    _reference_point,
    _loss_weights,
    _label_smoothing,
    _pull_of_a_reference,
    _divergence,
    _discopop,
    _weighting,
    _lengths,
    _warmup,
    _lora,
    _master_weights,
    _quantisation,
)
