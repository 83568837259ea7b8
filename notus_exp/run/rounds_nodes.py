"""The nodes of several rounds: those of one, once for each, each reading what its round begins with.

The last round's nodes have the names of a run of one round, so that whoever reads a run reads what came out at the end;
those of an earlier round have `round1_`, `round2_`, ... before them. Nodes that are the same in all rounds are there
once, under their own names: the prompts, the base model, a supervised training, what the base model answers and is
measured by. All rounds are evaluated on the feedback of the first, whose held-out prompts no round trains on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from notus_exp.config.made_settings import own_writers
from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.rounds_of_run import MERGED, earlier_node, is_shared
from notus_exp.run.nodes import Made, NodeRow, Sources
from notus_exp.run.training_nodes import base_of
from notus_exp.stages.settings import BaseModelSettings

MEASURED = (Stage.generations, Stage.likelihoods, Stage.benchmarks, Stage.judgments, Stage.evaluation)
"""Stages that compare a policy with the base model."""

OneRound = Callable[[Config, Sources, int], Iterable[NodeRow]]
"""Lists the rows of a round by its number, named as those of a run of one round."""


def round_node(config: Config, number: int, name: str) -> str:
    """Return the name of a node of a round."""
    return name if number == config.rounds.number or is_shared(name) else earlier_node(number, name)


def rounds_nodes(config: Config, sources: Sources, one_round: OneRound) -> list[NodeRow]:
    """Return the rows of all rounds, those of the first before those of the second."""
    rows: list[NodeRow] = []
    for number in range(1, config.rounds.number + 1):
        for row in [*one_round(config, sources, number), _merged(config, sources)]:
            if number == 1 or not is_shared(row[0]):
                rows.append(_placed(config, number, row))
    return rows


def is_merged(row: NodeRow) -> bool:
    """Say whether a row is of a policy's whole weights, which are made only where something reads them."""
    return row[1] is Stage.base_model and "policy" in row[3]


def _merged(config: Config, sources: Sources) -> NodeRow:
    settings = BaseModelSettings(config.model, sources.model_digest, merged_in=config.dpo.precision.name)
    return MERGED, Stage.base_model, settings, {"base_model": base_of(config), "policy": "policy"}


def _placed(config: Config, number: int, row: NodeRow) -> NodeRow:
    """Return a row of a round under its name there, with what it reads."""
    name, stage, settings, uses = row
    begun = _begun_with(config, number, row)
    if stage is Stage.pairs and (number > 1 or config.rounds.prompts == "new"):
        settings = replace(settings, part=True)
    return (
        round_node(config, number, name),
        stage,
        settings,
        {
            use: made if isinstance(made, Made) else begun.get(use) or round_node(config, number, made)
            for use, made in uses.items()
        },
    )


def _begun_with(config: Config, number: int, row: NodeRow) -> Mapping[str, str]:
    """Return the inputs of a row that are not of its own round."""
    name, stage, settings, uses = row
    rounds = config.rounds
    if stage in MEASURED:
        whole = number > 1 and rounds.start == "previous"  # its adapter is one of the policy before
        policy = round_node(config, number, MERGED if whole else "policy")
        return {"feedback": round_node(config, 1, "feedback"), "policy": policy}
    if number == 1 or is_shared(name):
        return {"feedback": round_node(config, 1, "feedback")} if name == "reference_scored" else {}
    chosen: str | None = None
    if stage in (Stage.policy, Stage.base_model):
        chosen = rounds.start
    elif name == "reference":
        chosen = rounds.reference
    elif stage is Stage.responses and settings.writer in own_writers(config.data):
        chosen = rounds.writers
    if chosen is None or "base_model" not in uses:
        return {}
    return {"base_model": base_of(config) if chosen == "base" else round_node(config, number - 1, MERGED)}
