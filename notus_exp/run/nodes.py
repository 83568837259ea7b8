"""What a plan is made of: stages and where their code is, nodes with their keys, and what lies outside a config."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from notus_exp.config.schema import Stage
from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.keys import folder_name, make_key
from notus_exp.run.probes import Probe
from notus_exp.stages.settings import (
    AnnotationsSettings,
    BaseModelSettings,
    BenchmarksSettings,
    ColumnsSettings,
    EvaluationSettings,
    FeedbackSettings,
    GenerationsSettings,
    JudgmentsSettings,
    LikelihoodsSettings,
    PairsSettings,
    PolicySettings,
    ReferenceSettings,
    ResponsesSettings,
    SftSettings,
    keyed,
)


class StageInfo(NamedTuple):
    """Where a stage's code is and how it is run.

    Attributes:
        module: Module with the function `run`; imported where the stage runs, not before.
        version: Raised when the code changes what the stage computes: old artifacts are then not reused.
        worker: Whether it runs in the worker process (and its key carries the versions of the training libraries); what
            is made from a model does in any case.
        resumable: Whether it continues what a killed attempt left behind.
        settings: The dataclass that it is given.
    """

    module: str
    version: int
    worker: bool
    resumable: bool
    settings: type


STAGES = {
    Stage.responses: StageInfo("notus_exp.making.responses", 1, False, True, ResponsesSettings),
    Stage.feedback: StageInfo("notus_exp.feedback.completions", 2, False, False, FeedbackSettings),
    Stage.annotations: StageInfo("notus_exp.annotation.make_annotations", 1, True, False, AnnotationsSettings),
    Stage.columns: StageInfo("notus_exp.scoring.make_columns", 1, False, False, ColumnsSettings),
    Stage.pairs: StageInfo("notus_exp.curation.make_pairs", 2, False, False, PairsSettings),
    Stage.base_model: StageInfo("notus_exp.models.base_model", 1, True, False, BaseModelSettings),
    Stage.sft: StageInfo("notus_exp.training.sft", 1, True, True, SftSettings),
    Stage.reference: StageInfo("notus_exp.models.reference", 2, True, False, ReferenceSettings),
    Stage.policy: StageInfo("notus_exp.training.dpo", 2, True, True, PolicySettings),
    Stage.generations: StageInfo("notus_exp.evaluation.generations", 2, True, True, GenerationsSettings),
    Stage.likelihoods: StageInfo("notus_exp.models.likelihoods", 3, True, False, LikelihoodsSettings),
    Stage.benchmarks: StageInfo("notus_exp.evaluation.lm_eval.harness", 1, True, False, BenchmarksSettings),
    Stage.judgments: StageInfo("notus_exp.evaluation.judgments", 1, True, False, JudgmentsSettings),
    Stage.evaluation: StageInfo("notus_exp.evaluation.measuring", 3, False, False, EvaluationSettings),
}
VERSIONED = ("torch", "transformers", "trl")


@dataclass(frozen=True)
class Node:
    """One stage of one run.

    Attributes:
        name: Its name in this run: the stage's, or where it has several nodes one like `reference_scored`.
        stage: Which stage.
        settings: Its settings as JSON.
        inputs: Input name -> key of the artifact that it reads.
        versions: Library versions in its key.
        key: sha256 of all of these.
        uses: Input name -> name of the stage that made it, for finding its artifact.
    """

    name: str
    stage: Stage
    settings: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    key: str
    uses: dict[str, str]

    @property
    def wanted(self) -> Manifest:
        """What the manifest of its artifact must say."""
        return Manifest(self.stage.name, self.key, self.settings, self.inputs, self.versions)

    @property
    def folder(self) -> str:
        """Name of its artifact's folder."""
        return folder_name(self.stage.name, self.key)

    @property
    def folders(self) -> list[str]:
        """Names of the folders that making it reads and writes: its inputs', and its own."""
        return [*(folder_name(self.uses[use], key) for use, key in self.inputs.items()), self.folder]

    @property
    def in_worker(self) -> bool:
        """Say whether it is made in the worker process: of a stage that is, or from a model."""
        return STAGES[self.stage].worker or "base_model" in self.inputs

    def reads(self, other: Node) -> bool:
        """Say whether another node's artifact is one of its inputs."""
        return other.key in self.inputs.values()


class Made(NamedTuple):
    """An artifact of another run, which lies there and which no node of this one makes."""

    stage: Stage
    key: str


class Sources(NamedTuple):
    """What lies outside the config: digests that enter keys, the local files that they stand for, and other runs.

    Digests of files of scores, and probes, are by the name of the column.
    `score_ways` say of a file of scores how it says whose they are, None where its columns do.
    `source_digests` are those of the sources of a mix, for which `data_digest` stands too; of data made here they and
    `data_digest` are those of its prompts. `writer_digests` stand for the models of writers that have one of their own,
    `sft_digest` for the conversations of a supervised training.
    """

    data_digest: str | None
    contamination_digests: list[str]
    model_digest: str | None
    evaluation_digests: dict[str, str]
    files: dict[str, list[str]]
    score_digests: Mapping[str, str] = MappingProxyType({})
    probes: Mapping[str, list[Probe]] = MappingProxyType({})
    source_digests: Sequence[str | None] = ()
    annotator_digests: Mapping[str, dict[str, str]] = MappingProxyType({})
    score_ways: Mapping[str, str | None] = MappingProxyType({})
    sft_digest: str | None = None
    writer_digests: Mapping[str, str | None] = MappingProxyType({})


NodeRow = tuple[str, Stage, Any, Mapping[str, "str | Made"]]
"""Node name, stage, settings, input name -> node name or what another run made."""


def make_node(name: str, stage: Stage, settings: Any, inputs: Mapping[str, Node | Made]) -> Node:
    """Return a node with its key: of its stage's version, settings, inputs and libraries."""
    info = STAGES[stage]
    content = keyed(settings)
    in_worker = info.worker or "base_model" in inputs
    versions = {lib: _version(importlib.metadata.version, lib) for lib in VERSIONED} if in_worker else {}
    keys = {use: node.key for use, node in sorted(inputs.items())}
    key = make_key(stage.name, info.version, content, keys, versions)
    return Node(name, stage, content, keys, versions, key, {use: made.stage.name for use, made in inputs.items()})


@cache
def _version(ask: Callable[[str], str], library: str) -> str:
    """Return a library's version, asked once in a process: each time takes two milliseconds, a third of a plan's."""
    return ask(library)
