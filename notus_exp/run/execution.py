"""Making one node's artifact: the same code in the parent and in a worker."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.generation_settings import GENERATION_SCHEMAS, Generation
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.judge_settings import JUDGE_SCHEMAS, Judge
from notus_exp.config.made_settings import Writer
from notus_exp.config.mix_sources import PROMPTS, told_of
from notus_exp.config.schema import Stage
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import Manifest
from notus_exp.contracts.provenance import Provenance
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import EVENTS
from notus_exp.disk.json_files import write_json
from notus_exp.disk.keys import contents_of
from notus_exp.disk.ledger import Ledger
from notus_exp.machine.servers import Servers
from notus_exp.run.nodes import STAGES, Node
from notus_exp.run.surroundings import surroundings
from notus_exp.stages.context import Context, Requirements
from notus_exp.stages.settings import INSTRUCTIONS, from_json, to_json

STARTED, WAITING, FINISHED = "started", "waiting", "finished"
"""Marks in the event stream (as metrics with value 1) by which the parent knows where a stage is."""
MARKS = {STARTED, WAITING, FINISHED}


@dataclass
class Job:
    """Everything that makes artifacts: what, where and how.

    Attributes:
        nodes: What to make, inputs before their users.
        artifacts: Folder of all artifacts.
        cache: Folder of the transactional caches.
        events: The run's event file, which the parent follows.
        hardware: Batch sizes, device, attention.
        sources: Local files that the settings' digests stand for.
        generation: Who answers prompts.
        judge: Who judges answers.
        annotators: Who rates the feedback, by name.
        ledger: File in which the run writes down what its judges, and writers of answers, cost.
        writers: Who answers prompts where the data is made, in their order.
        budget: USD that making the data may cost; None for no limit.
        requirements: What is refused before anything is computed.
        command: The arguments of the run, for the manifests.
        lowered: Stage -> facts of it: batches that were made smaller because memory ran out.
    """

    nodes: list[Node]
    artifacts: Path
    cache: Path
    events: Path
    hardware: Hardware
    sources: dict[str, list[str]]
    generation: Generation
    judge: Judge
    ledger: Path
    requirements: Requirements = field(default_factory=Requirements)
    command: list[str] = field(default_factory=list)
    annotators: dict[str, Annotator] = field(default_factory=dict)
    lowered: dict[str, dict[str, int]] = field(default_factory=dict)
    writers: list[Writer] = field(default_factory=list)
    budget: float | None = None

    def places(self) -> list[Path]:
        """Return the folders that are written to, each of which may be on a disk of its own."""
        return [self.artifacts, self.cache, self.events.parent, Path(tempfile.gettempdir())]

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        content = {
            "nodes": [asdict(node) | {"stage": node.stage.name} for node in self.nodes],
            "artifacts": str(self.artifacts),
            "cache": str(self.cache),
            "events": str(self.events),
            "hardware": to_json(self.hardware),
            "sources": self.sources,
            "generation": to_json(self.generation),
            "judge": to_json(self.judge),
            "annotators": [to_json(annotator) for annotator in self.annotators.values()],
            "ledger": str(self.ledger),
            "requirements": to_json(self.requirements),
            "command": self.command,
            "lowered": self.lowered,
            "writers": [to_json(writer) for writer in self.writers],
            "budget": self.budget,
        }
        write_json(path, content)

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job that `write` wrote.

        Raises:
            DamagedFileError: It is none.
        """
        try:
            return cls._from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedFileError(f"{path} cannot be read: {error!r}", "the same command writes it again") from error

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> Job:
        return cls(
            nodes=[Node(**node | {"stage": Stage[node["stage"]]}) for node in content["nodes"]],
            artifacts=Path(content["artifacts"]),
            cache=Path(content["cache"]),
            events=Path(content["events"]),
            hardware=from_json(Hardware, content["hardware"]),
            sources=content["sources"],
            generation=from_json(GENERATION_SCHEMAS[content["generation"]["name"]], content["generation"]),
            judge=from_json(JUDGE_SCHEMAS[content["judge"]["name"]], content["judge"]),
            ledger=Path(content["ledger"]),
            requirements=from_json(Requirements, content["requirements"]),
            command=content["command"],
            annotators={one["name"]: _annotator(one) for one in content["annotators"]},
            lowered=content["lowered"],
            writers=[from_json(Writer, one) for one in content["writers"]],
            budget=content["budget"],
        )


def _annotator(content: dict[str, Any]) -> Annotator:
    judge = content["judge"]
    return Annotator(**content | {"judge": from_json(JUDGE_SCHEMAS[judge["name"]], judge)})


def in_order(nodes: list[Node]) -> list[Node]:
    """Return nodes in the order in which a worker makes them: base models, what is trained of them, then others.

    A base model that is a policy with all of its weights comes after that policy, as it is planned.
    """
    first = (Stage.base_model, Stage.sft)
    return sorted(
        nodes, key=lambda node: first.index(node.stage) if node.stage in first and "policy" not in node.inputs else 2
    )


SHARED = (Stage.sft, Stage.reference, Stage.policy, Stage.likelihoods, Stage.generations, Stage.responses)
"""Stages that load a model and take most of a run's time."""


def is_shared(node: Node) -> bool:
    """Say whether all processes of a launch make a node together: a model of this run scores, learns or answers."""
    return node.stage in SHARED and all(node.settings.get(served) is None for served in ("endpoint_model", "engine"))


def execute(
    node: Node,
    job: Job,
    prepare: Callable[[Context], None] | None = None,
    around: Callable[[Node, Path, Context], AbstractContextManager[None]] | None = None,
    servers: Servers | None = None,
) -> tuple[Manifest, bool]:
    """Make a node's artifact unless it exists; return its manifest and whether it was made here.

    Args:
        node: What to make.
        job: Where and how.
        prepare: Called with the stage's context before the stage, where it runs; its time counts as the stage's.
        around: Given the node, its folder and context where the stage runs; the stage runs within what it returns.
        servers: Those of the worker, which outlive a stage.
    """
    info = STAGES[node.stage]
    store = ArtifactStore(job.artifacts)
    partial = store.partial(node.stage.name, node.key)
    marks = EventWriter(node.name, partial / EVENTS, job.events)
    wanted = node.wanted
    wanted.provenance = [cast(Provenance, surroundings(job.hardware, job.command))]

    def make(out: Path) -> dict[str, Any]:
        marks.mark(STARTED)
        wanted.contents = contents_of(inputs_of(node, store))
        context = context_of(job, EventWriter(node.name, out / EVENTS, job.events))
        context.servers, context.policies = servers, _policies_beside(node, job, store)
        if prepare:
            prepare(context)
        with around(node, out, context) if around else nullcontext():
            return run_stage(node, job, out, context) | job.lowered.get(node.stage.name, {})

    result = store.build(wanted, make, resumable=info.resumable, on_wait=lambda: marks.mark(WAITING))
    marks.mark(FINISHED)
    return result


def inputs_of(node: Node, store: ArtifactStore) -> dict[str, Path]:
    """Return the folders that a node reads, by the name of the input."""
    return {use: store.path(node.uses[use], key) for use, key in node.inputs.items()}


def context_of(job: Job, events: EventWriter) -> Context:
    """Return what a stage of a job is given beside its settings and inputs."""
    context = Context(events, job.hardware, job.cache, job.sources, job.generation, job.judge, Ledger(job.ledger))
    context.requirements, context.annotators = job.requirements, job.annotators
    context.writers, context.budget = {writer.name: writer for writer in job.writers}, job.budget
    return context


def run_stage(node: Node, job: Job, out: Path, context: Context) -> dict[str, Any]:
    """Run a node's stage in a folder and return its facts."""
    info = STAGES[node.stage]
    run = importlib.import_module(info.module).run
    inputs = inputs_of(node, ArtifactStore(job.artifacts))
    of_prompts = node.name.split()[0] == INSTRUCTIONS  # of data that is made here: they have a key of their own
    with told_of(PROMPTS) if of_prompts else nullcontext():
        facts: dict[str, Any] = run(from_json(info.settings, node.settings), inputs, out, context)
    return facts


def _policies_beside(node: Node, job: Job, store: ArtifactStore) -> list[Path]:
    """Return the policies that answer in this job and lie there, of the base model that a node's answers are of."""
    if node.stage is not Stage.generations:
        return []
    asked = {
        one.inputs["policy"]
        for one in job.nodes
        if one.stage is Stage.generations
        and "policy" in one.inputs
        and one.inputs["base_model"] == node.inputs["base_model"]
    }
    paths = [store.path(Stage.policy.name, key) for key in sorted(asked)]
    return [path for path in paths if path.exists()]
