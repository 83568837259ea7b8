"""From a Config to the list of stages that a run needs, each with its settings, inputs and key."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from notus_exp.config.algorithms import needs_reference
from notus_exp.config.annotator_checks import asked_annotators
from notus_exp.config.column_names import REFERENCE, TOKENS
from notus_exp.config.curation_checks import ALL_WORSE
from notus_exp.config.curation_settings import Filters, PairRule, Rejected, Split
from notus_exp.config.expression_checks import joined_columns, named_columns
from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.places import place_of
from notus_exp.config.schema import Config, Stage, reaches
from notus_exp.config.score_settings import SCORE_COLUMN, column_of, runs_of_probe
from notus_exp.config.spelling import spelled_curation
from notus_exp.config.training_settings import DPO
from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.keys import folder_name, make_key
from notus_exp.evaluation.catalogue import answering, chosen, judged
from notus_exp.evaluation.kit.description import EvaluationSpec
from notus_exp.run import old_keys
from notus_exp.run.probes import Probe
from notus_exp.stages.settings import (
    ANNOTATED,
    NO_SPLIT,
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
    TokenCounting,
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
    Stage.feedback: StageInfo("notus_exp.feedback.completions", 2, False, False, FeedbackSettings),
    Stage.annotations: StageInfo("notus_exp.annotation.make_annotations", 1, True, False, AnnotationsSettings),
    Stage.columns: StageInfo("notus_exp.scoring.make_columns", 1, False, False, ColumnsSettings),
    Stage.pairs: StageInfo("notus_exp.curation.make_pairs", 2, False, False, PairsSettings),
    Stage.base_model: StageInfo("notus_exp.models.base_model", 1, True, False, BaseModelSettings),
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
    `source_digests` are those of the sources of a mix, for which `data_digest` stands too.
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


def make_plan(config: Config, sources: Sources) -> list[Node]:
    """Return the nodes of a run up to `config.until` and what these are made from, inputs before their users."""
    rows = {row[0]: row for row in _wanted(config, sources)}
    nodes: dict[str, Node] = {}
    distinct: dict[str, Node] = {}

    def add(name: str) -> Node:
        if name not in nodes:
            _, stage, settings, uses = rows[name]
            inputs = {use: made if isinstance(made, Made) else add(made) for use, made in uses.items()}
            node = _node(name, stage, settings, inputs)
            nodes[name] = distinct.setdefault(node.key, node)
        return nodes[name]

    for name, row in rows.items():
        if reaches(config.until, row[1]):
            add(name)
    return list(distinct.values())


NodeRow = tuple[str, Stage, Any, Mapping[str, "str | Made"]]
"""Node name, stage, settings, input name -> node name or what another run made."""


def _wanted(config: Config, sources: Sources) -> list[NodeRow]:
    """List the nodes in the order of the stages: at least those that `config.until` reaches, and their inputs."""
    rows: list[NodeRow] = [
        ("feedback", Stage.feedback, _feedback_settings(config, sources), {}),
        *(annotations := _annotations(config, sources)),
        *(columns := _columns(config, sources)),
        (
            "pairs",
            Stage.pairs,
            _pairs_settings(config, sources),
            {
                "feedback": "feedback",
                **{row[0]: row[0] for row in annotations},
                **({"columns": "columns"} if columns else {}),
            },
        ),
        ("base_model", Stage.base_model, BaseModelSettings(config.model, sources.model_digest), {}),
        *_references(config),
        _policy(config),
    ]
    if not reaches(config.until, Stage.generations):  # then nothing of an evaluation was looked up
        return rows
    answered = [row for spec in answering(config.evaluation) for row in _generations(spec, config, sources)]
    measured = [*_likelihoods(config), *_benchmarks(config, sources)]
    verdicts = [row for spec in judged(config.evaluation) for row in _judgments(spec.name, config, sources)]
    rows += [*answered, *measured, *verdicts]
    uses = {row[0]: row[0] for row in [*answered, *measured, *verdicts]}
    return [
        *rows,
        ("evaluation", Stage.evaluation, _evaluation_settings(config, sources), {"feedback": "feedback"} | uses),
    ]


def _feedback_settings(config: Config, sources: Sources) -> FeedbackSettings:
    return FeedbackSettings(keyed(config.data), sources.data_digest, list(sources.source_digests))


def _annotations(config: Config, sources: Sources) -> list[NodeRow]:
    """Return the annotators that are asked; see `annotator_checks.asked_annotators`."""
    return [
        (
            f"{ANNOTATED}{one.name}",
            Stage.annotations,
            AnnotationsSettings(
                one.name, keyed(one.judge), sources.annotator_digests[one.name], one.rubric, one.scale, one.pairs
            ),
            {"feedback": "feedback"},
        )
        for one in asked_annotators(config)
    ]


def _columns(config: Config, sources: Sources) -> list[NodeRow]:
    """Return what makes the columns of completions that expressions name; nothing where they name none of them."""
    named = {*named_columns(config)}
    scored = {column_of(score): score for score in sorted(config.scores, key=column_of)}
    joined = {
        column: {
            "file": sources.score_digests[column],
            "column": score.column or SCORE_COLUMN,
            "by": sources.score_ways.get(column, score.by),
        }
        for column, score in scored.items()
        if column in named and not runs_of_probe(score)
    }
    taken = [name for name in (TOKENS, *REFERENCE) if name in named]
    uses: dict[str, str | Made] = {"feedback": "feedback"}
    model: dict[str, str | Made] = {"feedback": "feedback", "base_model": "base_model"}
    makers: list[NodeRow] = []
    if TOKENS in named:
        counting = TokenCounting(config.model.system_prompt, config.model.template_date)
        makers.append(("columns_tokens", Stage.columns, ColumnsSettings({}, counted=counting), model))
        uses |= {"tokens": "columns_tokens"}
    if named & {*REFERENCE}:
        everything = replace(_encoding(config), split=NO_SPLIT, everything=True)
        makers.append(("reference_columns", Stage.reference, everything, model))
        uses |= {"reference": "reference_columns"}
    probes: dict[str, dict[str, Any]] = {}
    for column, score in scored.items():
        for number, probe in enumerate(sources.probes.get(column, ())):
            made = probes.setdefault(column, {"betas": [], "exclude": score.exclude, "in_sample": score.in_sample})
            made["betas"].append(probe.training.dpo.beta)
            makers += _of_probe(f"{column}_{number}", probe)
            uses |= {f"likelihoods_{column}_{number}": f"likelihoods_{column}_{number}"}
            uses |= {f"pairs_{column}_{number}": Made(Stage.pairs, probe.pairs)}
    if not joined and not taken and not probes:
        return []
    return [("columns", Stage.columns, ColumnsSettings(joined, taken, probes=probes), uses), *makers]


def _of_probe(name: str, probe: Probe) -> list[NodeRow]:
    """Return what scores all completions by the policy of another run, as that run templates and computes them."""
    training = probe.training
    encoding = _encoded(training.dpo, training.system_prompt, training.template_date, NO_SPLIT)
    base: dict[str, str | Made] = {"base_model": Made(Stage.base_model, probe.base_model)}
    uses = {**base, "policy": Made(Stage.policy, probe.policy), "reference_scored": f"reference_{name}"}
    return [
        (f"reference_{name}", Stage.reference, replace(encoding, everything=True), {**base, "feedback": "feedback"}),
        (f"likelihoods_{name}", Stage.likelihoods, LikelihoodsSettings(training.dpo.precision.name, 0), uses),
    ]


def _references(config: Config) -> list[NodeRow]:
    """Return what training needs, and apart from it what is scored: no setting of an evaluation retrains a policy."""
    preferences = config.evaluation.preferences
    uses = {"feedback": "feedback", "base_model": "base_model"}
    rows: list[NodeRow] = []
    if needs_reference(config.dpo):
        rows.append(("reference", Stage.reference, _trained(config), {**uses, "pairs": "pairs"}))
    if preferences:
        scored = replace(_encoding(config), preferences=preferences, scored_split=config.evaluation_split.name)
        rows.append(("reference_scored", Stage.reference, scored, uses))
    return rows


def _policy(config: Config) -> NodeRow:
    """Return the training; without a reference, which holds the pairs as tokens, it reads their texts itself."""
    settings = PolicySettings(config.dpo, config.seed, config.model.system_prompt, config.model.template_date)
    uses = {"pairs": "pairs", "base_model": "base_model"}
    if needs_reference(config.dpo):
        return "policy", Stage.policy, settings, {**uses, "reference": "reference"}
    return "policy", Stage.policy, replace(settings, encoding=_trained(config)), {**uses, "feedback": "feedback"}


def _trained(config: Config) -> ReferenceSettings:
    return replace(_encoding(config), max_validation_pairs=config.dpo.max_validation_pairs)


def _encoding(config: Config) -> ReferenceSettings:
    whole = replace(config.split, folds=None, fold=None)  # a fold moves the pairs, and nothing that is held out
    return _encoded(config.dpo, config.model.system_prompt, config.model.template_date, whole)


def _encoded(dpo: DPO, system_prompt: str | None, template_date: str | None, split: Split) -> ReferenceSettings:
    return ReferenceSettings(
        split=split,
        system_prompt=system_prompt,
        precision=dpo.precision.name,
        max_length=dpo.max_length,
        max_prompt_length=dpo.max_prompt_length,
        long_prompts=dpo.long_prompts.name,
        template_date=template_date,
    )


def _generations(spec: EvaluationSpec, config: Config, sources: Sources) -> list[NodeRow]:
    """Return the answers of the base model and of the policy to the prompts of one evaluation."""
    asked, generation = getattr(config.evaluation, spec.name), config.generation
    endpoint = generation if isinstance(generation, EndpointGeneration) else None
    asked_for: dict[str, Any] = {key: getattr(asked, key) for key in spec.chosen_by}
    if spec.prompts_file:
        asked_for["prompts"] = sources.evaluation_digests[f"{spec.name}.{spec.prompts_file}"]
    else:
        asked_for["split"] = config.evaluation_split.name

    asked_how: dict[str, Any] = {}
    if endpoint:
        asked_how = {
            "token_limit_parameter": endpoint.token_limit_parameter,
            "sent_temperature": endpoint.temperature,
            "sent_seed": endpoint.seed,
            "thinking": endpoint.thinking,
        }

    def row(model: str | None) -> Any:
        return GenerationsSettings(
            evaluation=spec.name,
            chosen=asked_for,
            seed=asked.seed,
            max_new_tokens=asked.max_new_tokens,
            temperature=asked.temperature,
            temperatures=getattr(asked, "temperatures", {}),
            system_prompt=config.model.system_prompt,
            precision=config.dpo.precision.name,
            endpoint_model=model,
            template_date=None if endpoint else config.model.template_date,
            **asked_how,
        )

    uses = {"base_model": "base_model"} | ({} if spec.prompts_file else {"feedback": "feedback"})
    stage = Stage.generations
    base, policy = (endpoint.base_model, endpoint.policy_model) if endpoint else (None, None)
    return [
        (f"generations_{spec.name}_base", stage, row(base), uses),
        (f"generations_{spec.name}", stage, row(policy), {**uses, "policy": "policy"}),
    ]


def _likelihoods(config: Config) -> list[NodeRow]:
    preferences, verifiable = config.evaluation.preferences, config.evaluation.verifiable
    kl_prompts = verifiable.kl_prompts if verifiable else 0
    if not preferences and not kl_prompts:
        return []
    settings = LikelihoodsSettings(config.dpo.precision.name, kl_prompts)
    uses = {"base_model": "base_model", "policy": "policy"}
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
        config.dpo.precision.name,
        model.template_date if lm_eval.chat_template else None,
    )
    base = {"base_model": "base_model"}
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


def _pairs_settings(config: Config, sources: Sources) -> PairsSettings:
    selection, rejected, filters, pairs = spelled_curation(
        config.selection, config.rejected, config.filters, config.pairs
    )
    return PairsSettings(
        aspects=config.data.aspects,
        repair=config.repair,
        selection=selection,
        rejected=rejected,
        filters=filters,
        contamination_digests=sources.contamination_digests,
        split=config.split,
        seed=config.seed,
        pairs=pairs,
        columns=joined_columns(config),
        rules=_rules_version(rejected, filters, pairs, bool(sources.contamination_digests)),
    )


def _rules_version(rejected: Rejected, filters: Filters, pairs: PairRule, contamination: bool) -> int:
    """Return the version of the newest of the changed rules of curation that these settings reach; 1 for none.

    3: several pairs at random begin with the one pair of `pairs.per_prompt=1`; of each worse one the order moves no
    pair, unless it takes some of them out. 2: identical pairs, and the n-grams of benchmark prompts.
    """
    some_of = pairs.per_prompt != ALL_WORSE or filters.max_pairs is not None or filters.keep.by is not None
    several = pairs.per_prompt != "1" and some_of
    if several and place_of(rejected.place or rejected.name, "rejected.place").kind == "random":
        return 3
    identical = filters.identical_pairs and not filters.duplicate_responses  # else no prompt has a text twice
    return 2 if identical or contamination else 1


def _node(name: str, stage: Stage, settings: Any, inputs: Mapping[str, Node | Made]) -> Node:
    info = STAGES[stage]
    content = keyed(settings)
    in_worker = info.worker or "base_model" in inputs
    versions = {lib: importlib.metadata.version(lib) for lib in VERSIONED} if in_worker else {}
    keys = {use: node.key for use, node in sorted(inputs.items())}
    key = make_key(stage.name, info.version, content, keys, versions)
    return Node(name, stage, content, keys, versions, key, {use: made.stage.name for use, made in inputs.items()})
