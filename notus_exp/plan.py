"""From a Config to the list of stages that a run needs, each with its slice, inputs and key."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any, NamedTuple

from notus_exp import slices
from notus_exp.artifacts import make_key
from notus_exp.schema import Config, FileData, Stage
from notus_exp.slices import to_json


class StageInfo(NamedTuple):
    """Where a stage's code is and how it is run.

    Attributes:
        module: Module with the function `run`; imported where the stage runs, not before.
        version: Raised when the code changes what the stage computes: old artifacts are then not reused.
        worker: Whether it runs in the worker process (and its key carries the versions of the training libraries).
        resumable: Whether it continues what a killed attempt left behind.
        slice: The dataclass that it is given.
    """

    module: str
    version: int
    worker: bool
    resumable: bool
    slice: type


STAGES = {
    Stage.feedback: StageInfo("notus_exp.feedback.stage", 2, False, False, slices.FeedbackSlice),
    Stage.pairs: StageInfo("notus_exp.curation.stage", 2, False, False, slices.PairsSlice),
    Stage.base_model: StageInfo("notus_exp.training.base_model", 1, True, False, slices.BaseModelSlice),
    Stage.reference: StageInfo("notus_exp.training.reference", 1, True, False, slices.ReferenceSlice),
    Stage.policy: StageInfo("notus_exp.training.dpo", 1, True, True, slices.PolicySlice),
    Stage.generations: StageInfo("notus_exp.generation", 1, True, True, slices.GenerationsSlice),
    Stage.likelihoods: StageInfo("notus_exp.likelihoods", 2, True, False, slices.LikelihoodsSlice),
    Stage.evaluation: StageInfo("notus_exp.evaluation.stage", 1, False, False, slices.EvaluationSlice),
}
VERSIONED = ("torch", "transformers", "trl")


@dataclass(frozen=True)
class Node:
    """One stage of one run.

    Attributes:
        name: Its name in this run: the stage's, or `generations_base` for the base model's generations.
        stage: Which stage.
        slice: Its settings as JSON.
        inputs: Input name -> key of the artifact that it reads.
        versions: Library versions in its key.
        key: sha256 of all of these.
        uses: Input name -> name of the stage that made it, for finding its artifact.
    """

    name: str
    stage: Stage
    slice: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    key: str
    uses: dict[str, str]


class Sources(NamedTuple):
    """What lies outside the config: digests that enter keys, and the local files that they stand for."""

    data_digest: str | None
    contamination_digests: list[str]
    model_digest: str | None
    files: dict[str, list[str]]


def make_plan(config: Config, sources: Sources) -> list[Node]:
    """Return the nodes of a run up to `config.until`, inputs before their users."""
    nodes: dict[str, Node] = {}
    for name, stage, slice_, uses in _wanted(config, sources):
        if config.until is not Stage.config and stage.value > config.until.value:
            break
        nodes[name] = _node(name, stage, slice_, {use: nodes[use_of] for use, use_of in uses.items()})
    return list(nodes.values())


def _wanted(config: Config, sources: Sources) -> list[tuple[str, Stage, Any, dict[str, str]]]:
    """List (node name, stage, slice, input name -> node name) in the order of the stages."""
    evaluation, dpo = config.evaluation, config.dpo
    preferences, verifiable = evaluation.preferences, evaluation.verifiable
    kl_prompts = verifiable.kl_prompts if verifiable else 0
    system, precision = config.model.system_prompt, dpo.precision.name
    base = {"base_model": "base_model"}
    rows: list[tuple[str, Stage, Any, dict[str, str]]] = [
        ("feedback", Stage.feedback, slices.FeedbackSlice(_without_place(config), sources.data_digest), {}),
        ("pairs", Stage.pairs, _pairs_slice(config, sources), {"feedback": "feedback"}),
        ("base_model", Stage.base_model, slices.BaseModelSlice(config.model, sources.model_digest), {}),
        ("reference", Stage.reference, _reference_slice(config), {"feedback": "feedback", "pairs": "pairs", **base}),
        (
            "policy",
            Stage.policy,
            slices.PolicySlice(dpo, config.seed, system),
            {"pairs": "pairs", **base, "reference": "reference"},
        ),
    ]
    if verifiable:
        generations = slices.GenerationsSlice(verifiable, system, precision)
        uses = {**base, "feedback": "feedback"}
        rows.append(("generations_base", Stage.generations, generations, uses))
        rows.append(("generations", Stage.generations, generations, {**uses, "policy": "policy"}))
    if preferences or kl_prompts:
        likelihoods = slices.LikelihoodsSlice(system, precision, dpo.max_length, preferences, kl_prompts)
        uses = {**base, "reference": "reference", "policy": "policy"}
        uses |= {"generations": "generations"} if kl_prompts else {}
        rows.append(("likelihoods", Stage.likelihoods, likelihoods, uses))
    uses = {"feedback": "feedback"}
    uses |= {"likelihoods": "likelihoods"} if preferences or kl_prompts else {}
    uses |= {"generations": "generations", "generations_base": "generations_base"} if verifiable else {}
    measured = slices.EvaluationSlice(config.data.aspects, dpo.beta, config.repair, preferences, verifiable)
    rows.append(("evaluation", Stage.evaluation, measured, uses))
    return rows


def _without_place(config: Config) -> dict[str, Any]:
    """Return the data group without what the digest stands for: a file's place, or a hub's branch."""
    data: dict[str, Any] = to_json(config.data)
    if isinstance(config.data, FileData):
        dropped = ("path", "hub_id", "hub_split", "revision") if config.data.path else ("path", "revision")
        return {key: value for key, value in data.items() if key not in dropped}
    return data


def _pairs_slice(config: Config, sources: Sources) -> slices.PairsSlice:
    return slices.PairsSlice(
        aspects=config.data.aspects,
        repair=config.repair,
        selection=config.selection,
        rejected=config.rejected,
        filters=config.filters,
        contamination_digests=sources.contamination_digests,
        split=config.split,
        seed=config.seed,
    )


def _reference_slice(config: Config) -> slices.ReferenceSlice:
    dpo = config.dpo
    return slices.ReferenceSlice(
        split=config.split,
        system_prompt=config.model.system_prompt,
        precision=dpo.precision.name,
        max_length=dpo.max_length,
        max_prompt_length=dpo.max_prompt_length,
        long_prompts=dpo.long_prompts.name,
        max_validation_pairs=dpo.max_validation_pairs,
        preferences=config.evaluation.preferences,
    )


def _node(name: str, stage: Stage, slice_: Any, inputs: dict[str, Node]) -> Node:
    info = STAGES[stage]
    content = to_json(slice_)
    if stage is Stage.pairs:
        content["filters"]["contamination"].pop("files")  # their digests stand for them
    if stage is Stage.base_model:
        for place in ("name", "path", "revision", "system_prompt"):
            content["model"].pop(place)  # the digest stands for where it is; the system turn enters where it is used
    versions = {lib: importlib.metadata.version(lib) for lib in VERSIONED} if info.worker else {}
    keys = {use: node.key for use, node in sorted(inputs.items())}
    key = make_key(stage.name, info.version, content, keys, versions)
    return Node(name, stage, content, keys, versions, key, {use: made.stage.name for use, made in inputs.items()})
