"""What a report is made from: the comparison, the study and its runs, read once; and what a section of it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import polars as pl

from notus_exp.contracts.comparison_file import BASE_MODEL, ComparisonFile, EstimateRow
from notus_exp.contracts.run_file import RunFile, RunsBySeed
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk.outputs import COMPARISON_CSV, artifact
from notus_exp.reporting.looks import Look

MOST_SHOWN = 24
"""Arms up to which all are shown everywhere."""
_ROOM = 920.0
"""Pixels of a laptop's page beside the first column of a table."""
_CELL, _LETTER, _AROUND = 125.0, 7.5, 46.0
"""Pixels of a cell that holds an interval; of a letter of a name, and of what stands around the name."""
_LONGEST = 40
"""Letters of a name from which on it is broken."""


def parts(names: Sequence[str]) -> int:
    """Return in how many tables columns with these names are shown, so that none is wider than a laptop's page."""
    longest = min(max(map(len, names), default=0), _LONGEST)
    beside = int(_ROOM // max(_CELL, _AROUND + _LETTER * longest))
    return max(math.ceil(len(names) / beside), 1)


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        name: Its anchor, and the name of its template.
        title: Its heading.
        content: What its template shows; None where there is nothing to show.
        note: Without content the sentence that says why; "" leaves the section out.
        fewer: Which of many arms it shows; "" where it shows all.
    """

    name: str
    title: str
    content: dict[str, Any] | None
    note: str = ""
    fewer: str = ""


@dataclass(frozen=True)
class Material:
    """What all sections read.

    Attributes:
        folder: outputs/studies/<name>.
        study: study.json.
        comparison: comparison.json, NaN as null.
        runs: Arm -> seed -> run.json; of a run that has none its `status`, and the `error` that kept it from one.
        looks: Colour, marker and line of each arm and of the base model.
    """

    folder: Path
    study: StudyFile
    comparison: ComparisonFile
    runs: RunsBySeed
    looks: dict[str, Look]

    @property
    def arms(self) -> list[str]:
        """Return the arms' names in the study's order."""
        return [row["arm"] for row in self.comparison["arms"]]

    @cached_property
    def shown(self) -> list[str]:
        """Return the arms that are shown where each takes room: all, or of many the baseline and the extremes.

        Nobody tells hundreds of curves apart or reads hundreds of columns; the numbers of all are in comparison.csv.
        """
        if len(self.arms) <= MOST_SHOWN:
            return self.arms
        baseline = self.comparison["study"]["baseline"]
        known = {
            row["arm"]: row["metrics"][self.metric] for row in self.comparison["arms"] if self.metric in row["metrics"]
        }
        values = {arm: one["value"] for arm, one in known.items() if one["value"] is not None and arm != baseline}
        ranked = sorted(values, key=values.__getitem__, reverse=True)
        lowest = (MOST_SHOWN - 1) // 2
        kept = {baseline, *ranked[: MOST_SHOWN - 1 - lowest], *ranked[max(len(ranked) - lowest, 0) :]}
        return [arm for arm in self.arms if arm in kept]

    @property
    def fewer(self) -> str:
        """Return a sentence that says which arms `shown` has; "" where it has all."""
        if len(self.shown) == len(self.arms):
            return ""
        return (
            f"{len(self.shown)} of {len(self.arms)} arms are shown here: the baseline, and those with the highest and"
            f" the lowest {self.metric}. The numbers of all are in {COMPARISON_CSV}."
        )

    def of_shown(self) -> Material:
        """Return the same of the arms in `shown` alone."""
        if not self.fewer:
            return self
        kept = {*self.shown}
        whole = self.comparison
        comparison: dict[str, Any] = {
            **whole,
            "arms": [row for row in whole["arms"] if row["arm"] in kept],
            "contrasts": [row for row in whole["contrasts"] if row["arm"] in kept],
        }
        if labelled := whole["trained_by_evaluated"]:
            rows = [place for place, arm in enumerate(labelled["rows"]) if arm in kept]
            chosen = {key: [labelled[key][place] for place in rows] for key in ("rows", "cells")}  # type: ignore[literal-required]
            comparison["trained_by_evaluated"] = {**labelled, **chosen}
        if found := whole.get("curations"):
            places = [place for place, arm in enumerate(found["arms"]) if arm["arm"] in kept]
            common = [[found["common"][row][column] for column in places] for row in places] if found["common"] else []
            comparison["curations"] = {**found, "arms": [found["arms"][place] for place in places], "common": common}
        study: dict[str, Any] = {
            **self.study,
            "arms": {arm: spec for arm, spec in self.study["arms"].items() if arm in kept},
        }
        return replace(
            self,
            study=cast(StudyFile, study),
            comparison=cast(ComparisonFile, comparison),
            runs={arm: by_seed for arm, by_seed in self.runs.items() if arm in kept},
        )

    @property
    def metric(self) -> str:
        """Return the primary metric."""
        return str(self.comparison["study"]["metric"])

    def metrics(self) -> dict[str, dict[str, EstimateRow]]:
        """Return arm -> metric -> estimate, the base model last where it was measured."""
        found = {row["arm"]: row["metrics"] for row in self.comparison["arms"]}
        base = self.comparison["base"]["metrics"]
        return {**found, BASE_MODEL: base} if base else found

    def run(self, arm: str, seed: int) -> RunFile | None:
        """Return the run of an arm with a seed, None where it has none."""
        return self.runs.get(arm, {}).get(seed)

    def place(self, run: RunFile | None, node: str, file: str) -> Path | None:
        """Return a file of a run's artifact, None where the run did not get so far or the artifact is gone."""
        if run is None or node not in run.get("stages", {}):
            return None
        path = artifact(self.folder, run, node) / file
        return path if path.is_file() else None

    def table(self, run: RunFile | None, node: str, file: str, columns: list[str]) -> pl.DataFrame | None:
        """Return columns of a parquet file of a run's artifact, None where there is no such file."""
        path = self.place(run, node, file)
        return None if path is None else pl.read_parquet(path, columns=columns, glob=False)

    def common_seed(self, node: str) -> int | None:
        """Return the lowest seed of which every arm that has the artifact at all has it; None where there is none."""
        having = [
            {seed for seed, run in by_seed.items() if node in run.get("stages", {})} for by_seed in self.runs.values()
        ]
        having = [seeds for seeds in having if seeds]
        return min(set.intersection(*having), default=None) if having else None
