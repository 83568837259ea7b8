"""With what the stages of a run were made, as their manifests say; what the run was started with says it of none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from notus_exp.contracts.provenance import NOT_RECORDED, Surroundings
from notus_exp.frames.run_data import RunData


class MadeAlike(NamedTuple):
    """Stages that were made with the same.

    Attributes:
        nodes: Their names, in the run's order.
        around: Facts of the machine, library -> version, and `git`, the commit; empty where it was not recorded.
    """

    nodes: list[str]
    around: dict[str, Any]


def made_alike(run: RunData) -> list[MadeAlike]:
    """Return a run's stages, those that were made with the same together; a stage of several attempts is in several."""
    found: list[MadeAlike] = []
    for node, attempts in run.provenance.items():
        for around in [flat(attempt) for attempt in attempts] or [{}]:
            same = next((one for one in found if one.around == around), None)
            if same is None:
                found.append(MadeAlike([node], around))
            elif node not in same.nodes:
                same.nodes.append(node)
    return found


def makers_apart(one: RunData, two: RunData) -> dict[str, list[str]]:
    """Return in what the stages of two runs were made with other things: what -> as it was for each, in words."""
    sides = [made_alike(run) for run in (one, two)]
    keys = dict.fromkeys(key for side in sides for group in side for key in group.around)
    found = {key: [_values(side, key) for side in sides] for key in keys}
    return {key: values for key, values in found.items() if len({*values}) > 1}


def in_words(around: Mapping[str, Any]) -> str:
    """Return with what something was made in one line."""
    known = (f"{name} {value}" for name, value in around.items() if value is not None)
    return ", ".join(known) or NOT_RECORDED


def flat(around: Surroundings) -> dict[str, Any]:
    """Return hardware, versions and commit as one mapping, without the command."""
    commit = {"git": around["git_commit"]} if "git_commit" in around else {}
    return {**around.get("hardware", {}), **around.get("versions", {}), **commit}


def _values(groups: Sequence[MadeAlike], key: str) -> str:
    said = {str(group.around.get(key) or "-") if group.around else NOT_RECORDED for group in groups}
    return " and ".join(sorted(said)) or "-"
