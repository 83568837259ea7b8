"""What artifacts took that lie there already and were made on this machine: what forecasts are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.schema import Stage
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.errors import UserError
from notus_exp.machine.cuda import describe
from notus_exp.run import amounts
from notus_exp.run.amounts import Finder
from notus_exp.run.expectation import Taken

RECENT = 50
"""Artifacts of a stage that are looked at, the newest."""
SAME_MACHINE = ("device", "processes", "machine", "processor", "system", "cpus", "cuda_names")
"""What of a manifest's hardware must be as it is here."""
ON = 3.0
"""Seconds within which a node began after another had ended, where one worker made both."""


def here(hardware: Hardware) -> dict[str, Any]:
    """Return what manifests say of a run with this profile on this machine, as far as seconds depend on it."""
    found = {"device": hardware.device.name, "processes": hardware.processes, **describe()}
    return {key: found.get(key) for key in SAME_MACHINE}


class Recorded:
    """Amounts of work and the seconds that they took, by stage and by what makes them comparable.

    Artifacts that were gone on with after a kill are left out: their seconds are not those of all their work.

    Args:
        store: Where artifacts lie.
        machine: As `here` returned it: what was made elsewhere, or does not say where, tells nothing.
        look: Finds what an artifact was made from, by stage and key.
    """

    def __init__(self, store: ArtifactStore, machine: Mapping[str, Any], look: Finder) -> None:
        self._store, self._machine, self._look = store, machine, look
        self.of_stage = cache(self._of_stage)
        self.by_likeness = cache(self._by_likeness)

    def taken(self, stage: Stage, likeness: str | None) -> list[Taken]:
        """Return what is comparable; nothing where `likeness` is None."""
        return [] if likeness is None else self.by_likeness(stage).get(likeness, [])

    def _of_stage(self, stage: Stage) -> list[Manifest]:
        """Return the newest artifacts of a stage that can be read, whoever made them."""
        paths = sorted(self._store.root.glob(f"{stage.name}-*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
        return _readable(paths[-RECENT:])

    def _by_likeness(self, stage: Stage) -> dict[str, list[Taken]]:
        found: dict[str, list[Manifest]] = {}
        for manifest in self._of_stage(stage):
            likeness = amounts.likeness(stage, manifest, self._look) if self.counts(manifest) else None
            if likeness is not None:
                found.setdefault(likeness, []).append(manifest)
        add_up = _by_worker if stage is Stage.reference else _one_by_one
        return {likeness: [*add_up(alike)] for likeness, alike in found.items()}

    def counts(self, manifest: Manifest) -> bool:
        """Say whether an artifact was made in one go on this machine."""
        if len(manifest.provenance) != 1:
            return False
        told = manifest.provenance[0].get("hardware", {})
        return bool(told) and all(told.get(key) == self._machine[key] for key in SAME_MACHINE)


def _one_by_one(manifests: Iterable[Manifest]) -> Iterable[Taken]:
    for manifest in manifests:
        with suppress(KeyError, TypeError):  # it counted other things than today
            if amount := amounts.recorded(manifest):
                yield Taken(amount, max(manifest.seconds, 0.001))


def _by_worker(manifests: Iterable[Manifest]) -> Iterable[Taken]:
    """Add up what one worker made: the first of its reference nodes computes what all of them miss."""
    groups: list[list[Manifest]] = []
    ended = 0.0
    for manifest in sorted(manifests, key=_began):
        if not groups or _began(manifest) - ended > ON:
            groups.append([])
        groups[-1].append(manifest)
        ended = _began(manifest) + manifest.seconds
    for group in groups:
        with suppress(KeyError, TypeError):
            if amount := sum(amounts.recorded(one) or 0.0 for one in group):
                yield Taken(amount, max(sum(one.seconds for one in group), 0.001))


def _began(manifest: Manifest) -> float:
    return datetime.fromisoformat(manifest.provenance[0]["started"]).timestamp()


def _readable(paths: Iterable[Path]) -> list[Manifest]:
    """Return the manifests that can be read: whoever needs one of the others says what is wrong with it."""
    found = []
    for path in paths:
        with suppress(UserError, OSError):
            found.append(read_manifest(path))
    return found
