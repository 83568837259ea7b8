"""How well forecasts hold: each artifact of a folder is forecast from the others of it, and compared with what it took.

    python benchmarks/forecast.py outputs [--anywhere]

All must be of one machine. `--anywhere` takes artifacts that do not say where they were made too, but for those of the
stage `reference`, whose seconds cannot be told apart then.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from notus_exp.config.schema import Stage
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.errors import UserError
from notus_exp.run.expectation import Expected, Taken, expect
from notus_exp.run.recorded import Recorded

LEAST = 3
"""Artifacts of a kind from which on one of them is forecast from the others."""


class OfAFolder(Recorded):
    """All artifacts of a folder, of whatever machine."""

    anywhere = False

    def counts(self, manifest: Manifest) -> bool:
        """Say whether an artifact was made in one go, on this machine or another."""
        unsaid = self.anywhere and not manifest.provenance and manifest.stage != Stage.reference.name  # needs the times
        return len(manifest.provenance) == 1 or unsaid


def held(taken: Sequence[Taken]) -> list[tuple[float, bool]]:
    """Return of each the ratio of what it took to its forecast from the others, and whether the interval held it."""
    found = []
    for index, one in enumerate(taken):
        expected = expect([*taken[:index], *taken[index + 1 :]], one.amount)
        assert isinstance(expected, Expected)
        found.append((one.seconds / expected.seconds, expected.low <= one.seconds <= expected.high))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path, nargs="+")
    parser.add_argument("--anywhere", action="store_true")
    given = parser.parse_args()
    print("stage        forecast  within the interval  median error, a factor of  worst")
    every: list[tuple[float, bool]] = []
    for stage in Stage:
        found = [
            one
            for outputs in given.outputs
            for taken in kinds(outputs, stage, anywhere=given.anywhere)
            if len(taken) >= LEAST
            for one in held(taken)
        ]
        every += found
        show(stage.name, found)
    show("all", every)


def kinds(outputs: Path, stage: Stage, *, anywhere: bool) -> list[list[Taken]]:
    """Return what was taken in a folder, artifacts that can be compared together."""
    store = ArtifactStore(outputs / "artifacts")

    def look(of: Stage, key: str) -> Manifest | None:
        try:
            return read_manifest(store.path(of.name, key) / MANIFEST)
        except (UserError, OSError):
            return None

    found = OfAFolder(store, {}, look)
    found.anywhere = anywhere
    return list(found.by_likeness(stage).values())


def show(name: str, found: Sequence[tuple[float, bool]]) -> None:
    """Print a line of the table."""
    if found:
        factors = [math.exp(abs(math.log(ratio))) for ratio, _ in found]
        inside = sum(one for _, one in found)
        print(f"{name:<12} {len(found):>8}  {inside:>19}  {median(factors):>25.2f}  {max(factors):>5.1f}")


if __name__ == "__main__":
    main()
