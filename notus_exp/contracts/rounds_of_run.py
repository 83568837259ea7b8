"""A run of several rounds as run.json has it: what was made in each, under the names of a run of one round.

The last round's nodes have these names themselves; those of an earlier one have `round1_`, `round2_`, ... before them,
and what all rounds share is there once.
"""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from notus_exp.contracts.run_file import RunFile

MERGED = "merged"
"""Names the node of a policy's whole weights, which a later round begins with, or is measured by."""
EVALUATION, FEEDBACK = "evaluation", "feedback"
_OF_ROUND = re.compile(r"round([1-9]\d*)_(.+)")


class RoundNode(NamedTuple):
    """Which round a node is of, None for the last one, and what it is called in a run of one round."""

    number: int | None
    name: str


def earlier_node(number: int, name: str) -> str:
    """Return the name of a node of a round before the last one."""
    return f"round{number}_{name}"


def parsed_node(name: str) -> RoundNode:
    """Return the round of a node and its name there; a node of all rounds counts as one of the last."""
    found = _OF_ROUND.fullmatch(name)
    return RoundNode(int(found[1]), found[2]) if found else RoundNode(None, name)


def is_shared(name: str) -> bool:
    """Say whether a node is the same in all rounds: prompts, base models, and what these answer and are measured by."""
    base = name.startswith(("generations_", "judgments_", "benchmarks_")) and name.endswith("_base")
    return base or name in ("instructions", "sft", "reference_scored") or name.startswith("base_model")


def number_of_rounds(run: RunFile) -> int:
    """Return how many rounds a run has; those from before there were several have one."""
    told = run.get("config", {}).get("rounds") or {}
    return int(told.get("number", 1))


def of_round(run: RunFile, number: int) -> RunFile:
    """Return a run's record as if the round of that number were all of it, from 1.

    Its stages are those of the round, what all rounds share, and under their own names those of the rounds before, from
    which it was trained. Its metrics are those of the round, empty where it was not evaluated. Of an earlier round than
    the last it says of no evaluation that it has no score.
    """
    last = number_of_rounds(run)
    if number == last:
        return run
    stages = {}
    for name, stage in run.get("stages", {}).items():
        node = parsed_node(name)
        if node.number == number or is_shared(node.name):
            stages[node.name] = stage
        elif node.number is not None and node.number < number:
            stages[name] = stage
    metrics = next((one["metrics"] for one in run.get("rounds", []) if one["round"] == number), {})
    return cast(RunFile, {**run, "stages": stages, "metrics": metrics, "unscored": {}})


def evaluated_feedback(run: RunFile) -> str:
    """Return the key of the feedback whose held-out prompts a run is evaluated on: of several rounds the first one's.

    Of a run that was not evaluated it is that of the feedback it curated.

    Raises:
        KeyError: The run has neither.
    """
    stages = run["stages"]
    evaluated = stages.get(EVALUATION)
    read = evaluated.get("inputs", {}).get(FEEDBACK) if evaluated else None
    return read or stages[FEEDBACK]["key"]
