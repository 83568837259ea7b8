"""From a Config to the list of stages that a run needs, each with its settings, inputs and key."""

from __future__ import annotations

from notus_exp.config.data_settings import MadeFeedback
from notus_exp.config.schema import Config, Stage, reaches
from notus_exp.run.curation_nodes import curation_nodes
from notus_exp.run.evaluation_nodes import evaluation_nodes
from notus_exp.run.made_nodes import made_nodes
from notus_exp.run.nodes import Made, Node, NodeRow, Sources, make_node
from notus_exp.run.rounds_nodes import is_merged, rounds_nodes
from notus_exp.run.training_nodes import training_nodes
from notus_exp.stages.settings import (
    BaseModelSettings,
    FeedbackSettings,
    keyed,
)


def make_plan(config: Config, sources: Sources) -> list[Node]:
    """Return the nodes of a run up to `config.until` and what these are made from, inputs before their users."""
    rows = {row[0]: row for row in _wanted(config, sources)}
    nodes: dict[str, Node] = {}
    distinct: dict[str, Node] = {}

    def add(name: str) -> Node:
        if name not in nodes:
            _, stage, settings, uses = rows[name]
            inputs = {use: made if isinstance(made, Made) else add(made) for use, made in uses.items()}
            node = make_node(name, stage, settings, inputs)
            nodes[name] = distinct.setdefault(node.key, node)
        return nodes[name]

    for name, row in rows.items():
        if reaches(config.until, row[1]) and not is_merged(row):
            add(name)
    return list(distinct.values())


def _wanted(config: Config, sources: Sources) -> list[NodeRow]:
    """List the nodes of all rounds: at least those that `config.until` reaches, and their inputs."""
    if config.rounds.number == 1:
        return _of_round(config, sources)
    return rounds_nodes(config, sources, _of_round)


def _of_round(config: Config, sources: Sources, number: int = 1) -> list[NodeRow]:
    """List the nodes of a round in the order of the stages."""
    rows: list[NodeRow] = [
        *_feedback(config, sources, number),
        *curation_nodes(config, sources),
        ("base_model", Stage.base_model, BaseModelSettings(config.model, sources.model_digest), {}),
        *training_nodes(config, sources),
    ]
    if not reaches(config.until, Stage.generations):  # then nothing of an evaluation was looked up
        return rows
    return [*rows, *evaluation_nodes(config, sources)]


def _feedback(config: Config, sources: Sources, number: int) -> list[NodeRow]:
    """Return what reads the feedback, or makes it."""
    if isinstance(config.data, MadeFeedback):
        return made_nodes(config, sources, number)
    settings = FeedbackSettings(keyed(config.data), sources.data_digest, list(sources.source_digests))
    return [("feedback", Stage.feedback, settings, {})]
