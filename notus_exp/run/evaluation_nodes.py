"""The nodes of evaluation: answers, likelihoods, benchmarks and judgments of both models, and what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from notus_exp.config.generation_settings import EndpointGeneration, Generation, ServedGeneration
from notus_exp.config.precisions import working_precision
from notus_exp.config.schema import Config, Stage
from notus_exp.config.served_command import spelt
from notus_exp.evaluation.catalogue import answering, chosen, judged
from notus_exp.evaluation.kit.description import EvaluationSpec
from notus_exp.run import old_keys
from notus_exp.run.nodes import NodeRow, Sources
from notus_exp.run.training_nodes import base_of
from notus_exp.stages.settings import (
    BenchmarksSettings,
    EngineSettings,
    EvaluationSettings,
    GenerationsSettings,
    JudgmentsSettings,
    LikelihoodsSettings,
    keyed,
)

NOISE = 2
"""Version of the noise by which tokens are drawn (`generation/noise.py`); the first had a generator for each prompt."""


def evaluation_nodes(config: Config, sources: Sources) -> list[NodeRow]:
    """Return what the chosen evaluations need, and what measures them."""
    answered = [row for spec in answering(config.evaluation) for row in _generations(spec, config, sources)]
    if isinstance(config.generation, ServedGeneration):  # all that one model is asked, then all that the other is
        answered.sort(key=lambda row: "policy" in row[3])
    measured = [*_likelihoods(config), *_benchmarks(config, sources)]
    verdicts = [row for spec in judged(config.evaluation) for row in _judgments(spec.name, config, sources)]
    rows = [*answered, *measured, *verdicts]
    uses = {"feedback": "feedback"} | {row[0]: row[0] for row in rows}
    return [*rows, ("evaluation", Stage.evaluation, _evaluation_settings(config, sources), uses)]


def _generations(spec: EvaluationSpec, config: Config, sources: Sources) -> list[NodeRow]:
    """Return the answers of the base model and of the policy to the prompts of one evaluation."""
    asked, generation = getattr(config.evaluation, spec.name), config.generation
    asked_for: dict[str, Any] = {key: getattr(asked, key) for key in spec.chosen_by}
    if spec.prompts_file:
        asked_for["prompts"] = sources.evaluation_digests[f"{spec.name}.{spec.prompts_file}"]
    else:
        asked_for["split"] = config.evaluation_split.name

    temperatures = getattr(asked, "temperatures", {})
    sampled = any([asked.temperature, *temperatures.values()])
    asked_how: dict[str, Any] = {}
    if isinstance(generation, EndpointGeneration | ServedGeneration):
        asked_how = {
            "token_limit_parameter": generation.token_limit_parameter,
            "sent_temperature": generation.temperature,
            "sent_seed": generation.seed,
            "thinking": generation.thinking,
        }
    base, policy = served_names(generation)
    if isinstance(generation, ServedGeneration):
        adapter = spelt(generation.adapter) if generation.adapter and config.dpo.lora.r > 0 else None
        engine = EngineSettings(spelt(generation.command), adapter, generation.version, generation.body, "")
        asked_by = {base: generation.base_model, policy: generation.policy_model}

    def row(model: str | None) -> Any:
        if isinstance(generation, ServedGeneration):
            asked_how["engine"] = replace(engine, asked=asked_by[model])
        return GenerationsSettings(
            evaluation=spec.name,
            chosen=asked_for,
            seed=asked.seed,
            max_new_tokens=asked.max_new_tokens,
            temperature=asked.temperature,
            temperatures=temperatures,
            system_prompt=config.model.system_prompt,
            precision=working_precision(config.dpo),
            endpoint_model=model,
            template_date=None if base else config.model.template_date,
            noise=NOISE if sampled and model is None else 1,
            **asked_how,
        )

    uses = {"base_model": base_of(config)} | ({} if spec.prompts_file else {"feedback": "feedback"})
    stage = Stage.generations
    return [
        (f"generations_{spec.name}_base", stage, row(base), uses),
        (f"generations_{spec.name}", stage, row(policy), {**uses, "policy": "policy"}),
    ]


def served_names(generation: Generation) -> tuple[str | None, str | None]:
    """Return the names by which keys tell who served base model and policy; None where the models answer here.

    What a server of the run's own calls them stands with the engine.
    """
    if isinstance(generation, EndpointGeneration):
        return generation.base_model, generation.policy_model
    return ("base", "policy") if isinstance(generation, ServedGeneration) else (None, None)


def _likelihoods(config: Config) -> list[NodeRow]:
    preferences, verifiable = config.evaluation.preferences, config.evaluation.verifiable
    kl_prompts = verifiable.kl_prompts if verifiable else 0
    if not preferences and not kl_prompts:
        return []
    settings = LikelihoodsSettings(working_precision(config.dpo), kl_prompts)
    uses = {"base_model": base_of(config), "policy": "policy"}
    uses |= {"reference_scored": "reference_scored"} if preferences else {}
    uses |= {"generations": "generations_verifiable"} if kl_prompts else {}
    return [("likelihoods", Stage.likelihoods, settings, uses)]


def _benchmarks(config: Config, sources: Sources) -> list[NodeRow]:
    lm_eval, model = config.evaluation.lm_eval, config.model
    if lm_eval is None:
        return []
    settings = BenchmarksSettings(
        lm_eval,
        sources.evaluation_digests.get("lm_eval.include_path"),
        model.system_prompt,
        working_precision(config.dpo),
        model.template_date if lm_eval.chat_template else None,
    )
    base = {"base_model": base_of(config)}
    return [
        ("benchmarks_base", Stage.benchmarks, settings, base),
        ("benchmarks", Stage.benchmarks, settings, {**base, "policy": "policy"}),
    ]


def _judgments(name: str, config: Config, sources: Sources) -> list[NodeRow]:
    """Return the judgments of the base model's and of the policy's answers to one evaluation."""
    judge = old_keys.JUDGE.get(config.judge.name, {}) | keyed(config.judge)
    digests = {key: value for key, value in sources.evaluation_digests.items() if key.split(".")[0] in (name, "judge")}
    settings = JudgmentsSettings(name, judge, digests)
    return [
        (f"judgments_{name}{side}", Stage.judgments, settings, {"generations": f"generations_{name}{side}"})
        for side in ("_base", "")
    ]


def _evaluation_settings(config: Config, sources: Sources) -> EvaluationSettings:
    judge = config.judge if judged(config.evaluation) else None
    return EvaluationSettings(
        **vars(config.evaluation),
        aspects=config.data.aspects,
        beta=config.dpo.beta,
        files=sources.evaluation_digests,
        max_failure_rate=judge.max_failure_rate if judge else 0.0,
        judge=(judge.model or judge.name) if judge else "",
        model=config.model.name,
        versions={spec.name: spec.version for spec in chosen(config.evaluation) if spec.version > 1},
    )
