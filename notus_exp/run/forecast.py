"""How long stages may take: what artifacts of the same stage and base model took before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk.files import MANIFEST
from notus_exp.errors import UserError
from notus_exp.reporting.tables import lasting
from notus_exp.run.plan import Node

RECENT = 50
"""Artifacts of a stage that are looked at, the newest."""


class Forecast:
    """Seconds that making a node may take, from the artifacts that are there.

    Args:
        artifacts: Folder of all artifacts.
    """

    def __init__(self, artifacts: Path) -> None:
        self._artifacts = artifacts
        self._manifests: dict[str, list[Manifest]] = {}

    def seconds(self, node: Node) -> float | None:
        """Return the median over recent artifacts of the node's stage and base model; None where there are none."""
        stage = node.stage.name
        if stage not in self._manifests:
            paths = sorted(self._artifacts.glob(f"{stage}-*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
            self._manifests[stage] = _readable(paths[-RECENT:])
        base = node.inputs.get("base_model")
        alike = [one.seconds for one in self._manifests[stage] if one.inputs.get("base_model") == base]
        return median(alike) if alike else None


def in_words(forecast: Forecast, wanted: Sequence[Node]) -> str:
    """Say how long making these nodes takes one after the other, as far as earlier ones tell."""
    seconds = {node.key: forecast.seconds(node) for node in wanted}
    known = [time for time in seconds.values() if time is not None]
    unknown = dict.fromkeys(node.stage.name for node in wanted if seconds[node.key] is None)
    if not wanted:
        return "nothing is left to make"
    if not known:
        return "not known before a first run with this model"
    return f"about {lasting(sum(known))}" + (
        f", and what {', '.join(unknown)} takes, not made here before" if unknown else ""
    )


def _readable(paths: Iterable[Path]) -> list[Manifest]:
    """Return the manifests that can be read: whoever needs one of the others says what is wrong with it."""
    found = []
    for path in paths:
        with suppress(UserError):
            found.append(read_manifest(path))
    return found
