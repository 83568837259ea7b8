"""What trainers of others are told of a run's recipe, and what they have no word for."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from notus_exp.config.training_settings import DPO
from notus_exp.errors import UserError
from notus_exp.exporting.handed_weights import HUB, HubBase, hub_base, why_not_on_hub
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.texts import many
from notus_exp.stages.settings import from_json

HANDED_ALL_THE_SAME = "--format trl hands the pairs over without a recipe"
"""What is left where a trainer cannot be told a recipe."""
_NEUTRAL: dict[str, Any] = {
    "loss_weights": None,
    "label_smoothing": 0.0,
    "f_divergence_type": "reverse_kl",
    "ld_alpha": None,
    "discopop_tau": 0.05,
    "use_weighting": False,
}
"""Settings of the objective -> the value at which they say nothing."""
_LEFT_OUT = {
    "pairs_without_reference": "with a prompt that is too long",
    "pairs_left_out": "with a prompt that is too long",
    "pairs_same_tokens": "of the same tokens on both sides",
    "pairs_with_special_tokens": "with marks of the model's own in their texts",
}
"""Fact of a training -> which training pairs it left out."""


class TrainerRecipe(NamedTuple):
    """A recipe as a trainer is told of it.

    Attributes:
        dpo: The recipe.
        seed: Of the training.
        base: The base model on the hub, which is also the reference.
        system_prompt: The system turn put before prompts without one; None adds none.
        micro: Pairs a pass on one device; with `accumulation` passes they are the global batch.
        accumulation: Passes a step on one device.
        steps: Optimiser steps of the training.
        checkpointing: Whether activations are computed again.
        notes: In what this run's training was another one.
    """

    dpo: DPO
    seed: int
    base: HubBase
    system_prompt: str | None
    micro: int
    accumulation: int
    steps: int
    checkpointing: bool
    notes: list[str]

    @property
    def warmup(self) -> int:
        """The steps with a rising rate: transformers dropped the key for a share of them."""
        share = self.dpo.warmup
        return math.ceil(share * self.steps) if share < 1 else int(share)

    def every(self, times: int) -> int:
        """Return after how many steps something is done that happens so often in the training."""
        return max(1, math.ceil(self.steps / max(1, times)))


def trainer_recipe(run: RunData, base: HubBase | None, train_pairs: int) -> TrainerRecipe:
    """Return a run's recipe.

    Args:
        run: The run; it need not have trained.
        base: By `--base`.
        train_pairs: How many pairs the trainer is given.

    Raises:
        UserError: The base model is not on the hub, no pair is there to train on, or pairs have weights.
    """
    config = run.record.get("config", {})
    if "dpo" not in config:
        raise UserError(f"run {run.run_id} does not say its recipe", "name a run that was planned")
    if not train_pairs:
        raise UserError(f"run {run.run_id} has no training pairs", "give a run whose pairs are not all held out")
    if (config.get("pairs") or {}).get("weight"):
        raise UserError(
            f"pairs.weight={config['pairs']['weight']}: other trainers give every pair one weight",
            "--format parquet hands the weights over",
        )
    found = hub_base(run, base)
    if found is None:
        raise UserError(
            f"a trainer's config names its base on the hub, and of run {run.run_id} {why_not_on_hub(run)}",
            f"give --base {HUB}ORG/NAME@COMMIT",
        )
    dpo: DPO = from_json(DPO, config["dpo"])
    micro = _divisor(dpo.global_batch_size, config.get("hardware", {}).get("micro_batch_size") or 1)
    per_epoch = math.ceil(train_pairs / dpo.global_batch_size)
    return TrainerRecipe(
        dpo=dpo,
        seed=run.record.get("seed", config.get("seed", 0)),
        base=found,
        system_prompt=config.get("model", {}).get("system_prompt"),
        micro=micro,
        accumulation=dpo.global_batch_size // micro,
        steps=dpo.max_steps or math.ceil(dpo.epochs * per_epoch),
        checkpointing=bool(config.get("hardware", {}).get("activation_checkpointing")),
        notes=_notes(run, dpo),
    )


def refuse_unsaid(dpo: DPO, trainer: str, algorithms: Collection[str], said: Collection[str]) -> None:
    """Refuse what a trainer has no word for; which losses of DPO it has is for itself to say.

    Args:
        dpo: The recipe.
        trainer: Its name.
        algorithms: Those that it has.
        said: Settings of `_NEUTRAL` that it has a word for.

    Raises:
        UserError: Naming the setting and its value.
    """
    if dpo.algorithm not in algorithms:
        raise UserError(f"dpo.algorithm={dpo.algorithm} has no counterpart in {trainer} here", HANDED_ALL_THE_SAME)
    for name, neutral in _NEUTRAL.items():
        if name not in said and getattr(dpo, name) != neutral:
            raise UserError(f"dpo.{name}={getattr(dpo, name)}: {trainer} has no key for it", HANDED_ALL_THE_SAME)
    if dpo.lora.r and dpo.lora.alpha != int(dpo.lora.alpha):
        raise UserError(f"dpo.lora.alpha={dpo.lora.alpha}: {trainer} takes whole numbers", HANDED_ALL_THE_SAME)


def as_yaml(comment: str, content: Mapping[str, Any]) -> str:
    """Return a YAML file with a comment before it, a line of the comment a line."""
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
    return lines + text


def _divisor(batch: int, most: int) -> int:
    return next(size for size in range(min(batch, most), 0, -1) if batch % size == 0)


def _notes(run: RunData, dpo: DPO) -> list[str]:
    """Say in what any other trainer's training is another one than the run's."""
    stages: dict[str, Any] = dict(run.record.get("stages", {}))
    facts = stages.get("policy", {}).get("facts", {})
    notes = [
        f"the run's own training left out {many(facts[name], 'pair')} {which}; they are among these"
        for name, which in _LEFT_OUT.items()
        if facts.get(name)
    ]
    if dpo.max_prompt_length is not None:
        done = "cut" if dpo.long_prompts.name == "cut" else "left out"
        notes.append(
            f"the run {done} prompts of more than {dpo.max_prompt_length} tokens, for which there is no key here"
        )
    if dpo.batching != "random":
        notes.append("the run put pairs of like lengths into one step; here they are drawn")
    return notes
