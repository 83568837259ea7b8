"""Sections on what each arm reached: every metric with its interval, and training against evaluation labelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from notus_exp.comparison.exploration import LABELLED
from notus_exp.contracts.comparison_file import EstimateRow
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.study.report.material import Material, Section, parts
from notus_exp.study.report.numbers import ShownValue, about, shown, shown_first

_SHADE = 0.22
"""Opacity behind the highest cell of a column."""

ByArm = Mapping[str, Mapping[str, EstimateRow]]
"""Arm -> metric -> estimate."""


class MetricRow(TypedDict):
    """A metric and what each arm reached.

    Attributes:
        name: The metric.
        about: Unit, meaning, and which way is better.
        cells: A value an arm, None where one was not measured.
    """

    name: str
    about: str
    cells: list[ShownValue | None]


class MatrixCell(ShownValue):
    """An accuracy.

    Attributes:
        best: Whether it is the highest of its column, and not all are alike.
        shade: Opacity behind it.
    """

    best: bool
    shade: str


def metrics(material: Material) -> Section:
    """Return the section of all metrics by arm: the headlines open, the others folded by what they measure."""
    by_arm = material.metrics()
    names = list(dict.fromkeys(name for found in by_arm.values() for name in found))
    if not names:
        return Section("metrics", "Every arm", None, "No run has been evaluated.")
    first = shown_first(names, material.metric)
    told = _of_matrix(material) - {material.metric}
    first = [name for name in first if name not in told]
    groups: dict[str, list[str]] = {}
    for name in names:
        if name not in first and name not in told:
            groups.setdefault(name.rpartition("/")[0], []).append(name)
    counts = {row["arm"]: (len(row["seeds"]), len(row["failed"])) for row in material.comparison["arms"]}
    content = {
        "metric": material.metric,
        "arms": [(name, counts.get(name)) for name in by_arm],
        "parts": parts(list(by_arm)),
        "first": _table(by_arm, first),
        "groups": [(group, _table(by_arm, members)) for group, members in groups.items()],
        "left_out": _left_out(by_arm, material.metric),
        "in_matrix": any(name in told for name in names),
    }
    return Section("metrics", "Every arm", content)


def matrix(material: Material) -> Section:
    """Return the section of the accuracy by training arm and evaluation labelling."""
    found = material.comparison["trained_by_evaluated"]
    if not found or not found["columns"]:
        return Section(
            "matrix", "Trained on, evaluated on", None, "The evaluation on labelled pairs was not part of this study."
        )
    heights = [[cell and cell["value"] for cell in row] for row in found["cells"]]
    columns = [[value for value in column if value is not None] for column in zip(*heights, strict=True)]
    rows = [
        (arm, [_matrix_cell(cell, column) for cell, column in zip(cells, columns, strict=True)])
        for arm, cells in zip(found["rows"], found["cells"], strict=True)
    ]
    content = {"columns": found["columns"], "parts": parts(found["columns"]), "rows": rows}
    return Section("matrix", "Trained on, evaluated on", content)


def _of_matrix(material: Material) -> set[str]:
    """Return the metrics that `matrix` shows, which are not told a second time."""
    found = material.comparison["trained_by_evaluated"]
    return {f"{LABELLED}{name}" for name in found["columns"]} if found else set()


def _table(by_arm: ByArm, names: list[str]) -> list[MetricRow]:
    return [
        {
            "name": name,
            "about": about(name),
            "cells": [shown(found[name]) if name in found else None for found in by_arm.values()],
        }
        for name in names
    ]


def _matrix_cell(cell: MeasuredValue | None, column: list[float]) -> MatrixCell | None:
    if cell is None:
        return None
    if cell["value"] is None:
        return {**shown(cell), "best": False, "shade": "0"}
    low, high = min(column), max(column)
    place = (cell["value"] - low) / (high - low) if high > low else 0.0
    return {**shown(cell), "best": high > low and cell["value"] == high, "shade": f"{_SHADE * place:.2f}"}


def _left_out(by_arm: ByArm, metric: str) -> list[tuple[str, int]]:
    """Return the arms whose primary metric had to leave prompts out, and how many."""
    found = [(arm, metrics[metric]["left_out"]) for arm, metrics in by_arm.items() if metric in metrics]
    return [(arm, count) for arm, count in found if count]
