"""The nodes of training: a supervised one first, the reference log-probs that are needed or scored, and the policy."""

from __future__ import annotations

from dataclasses import replace

from notus_exp.config.algorithms import needs_reference
from notus_exp.config.curation_settings import Split
from notus_exp.config.precisions import working_precision
from notus_exp.config.schema import Config, Stage
from notus_exp.config.sft_settings import ChosenSft, SftTraining
from notus_exp.config.training_settings import DPO
from notus_exp.run.nodes import NodeRow, Sources
from notus_exp.stages.settings import (
    PolicySettings,
    ReferenceSettings,
    SftSettings,
    keyed,
)


def base_of(config: Config) -> str:
    """Return the node whose model preferences are learnt from, compared with and measured against.

    What curation reads of a model is read of the node `base_model` in any case: a supervised training may itself be of
    the pairs.
    """
    return "sft" if isinstance(config.sft, SftTraining) else "base_model"


def training_nodes(config: Config, sources: Sources) -> list[NodeRow]:
    """Return the supervised training, what training needs of the reference, what is scored by it, and the policy."""
    return [*_sft(config, sources), *_references(config), _policy(config)]


def _sft(config: Config, sources: Sources) -> list[NodeRow]:
    sft, model = config.sft, config.model
    if not isinstance(sft, SftTraining):
        return []
    settings = SftSettings(keyed(sft), model.system_prompt, sources.sft_digest, model.template_date)
    uses = {"base_model": "base_model"} | ({"pairs": "pairs"} if isinstance(sft, ChosenSft) else {})
    return [("sft", Stage.sft, settings, uses)]


def _references(config: Config) -> list[NodeRow]:
    """Return what training needs, and apart from it what is scored: no setting of an evaluation retrains a policy."""
    preferences = config.evaluation.preferences
    uses = {"feedback": "feedback", "base_model": base_of(config)}
    rows: list[NodeRow] = []
    if needs_reference(config.dpo):
        rows.append(("reference", Stage.reference, _trained(config), {**uses, "pairs": "pairs"}))
    if preferences and getattr(config.split, config.evaluation_split.name) > 0:  # else what stops before it is scored
        scored = replace(encoding(config), preferences=preferences, scored_split=config.evaluation_split.name)
        rows.append(("reference_scored", Stage.reference, scored, uses))
    return rows


def _policy(config: Config) -> NodeRow:
    """Return the training; without a reference, which holds the pairs as tokens, it reads their texts itself."""
    settings = PolicySettings(config.dpo, config.seed, config.model.system_prompt, config.model.template_date)
    uses = {"pairs": "pairs", "base_model": base_of(config)}
    if needs_reference(config.dpo):
        return "policy", Stage.policy, settings, {**uses, "reference": "reference"}
    return "policy", Stage.policy, replace(settings, encoding=_trained(config)), {**uses, "feedback": "feedback"}


def _trained(config: Config) -> ReferenceSettings:
    return replace(encoding(config), max_validation_pairs=config.dpo.max_validation_pairs)


def encoding(config: Config) -> ReferenceSettings:
    """Return how texts are templated, cut and computed, and which prompts are held out, whatever the fold."""
    whole = replace(config.split, folds=None, fold=None)  # a fold moves the pairs, and nothing that is held out
    return encoded(config.dpo, config.model.system_prompt, config.model.template_date, whole)


def encoded(dpo: DPO, system_prompt: str | None, template_date: str | None, split: Split) -> ReferenceSettings:
    """Return how texts are templated, cut and computed by a recipe."""
    return ReferenceSettings(
        split=split,
        system_prompt=system_prompt,
        precision=working_precision(dpo),
        max_length=dpo.max_length,
        max_prompt_length=dpo.max_prompt_length,
        long_prompts=dpo.long_prompts.name,
        template_date=template_date,
    )
