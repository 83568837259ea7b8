"""Sections on what quality comes with: the length of the answers, and the cost of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypedDict

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.contracts.run_file import RunEstimate, RunFile
from notus_exp.disk.outputs import sound_run
from notus_exp.evaluation.catalogue import CATALOGUE
from notus_exp.reporting.charts import Point, plane
from notus_exp.reporting.figures import inline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import NONE, duration, number, value_of, with_unit

LENGTHS = [
    f"{spec.name}/{metric.name}"
    for unit in ("tokens", "characters")
    for spec in CATALOGUE.values()
    for metric in spec.metrics
    if metric.unit == unit
]
"""Metrics that tell how long answers are; the first that there is, of the primary metric's own answers if it can be."""


class ArmCost(NamedTuple):
    """What the runs of an arm cost.

    Attributes:
        arm: Its name; "all" for all of them together.
        runs: Runs with a record of their costs.
        spent: Device seconds.
        whole: Device seconds, had nothing been reused.
        tuning: Device seconds of the runs that tuned it; None where none did.
        tokens: Tokens that judges read and wrote.
        usd: What judges cost; None where no prices are known.
    """

    arm: str
    runs: int
    spent: float
    whole: float
    tuning: float | None
    tokens: int
    usd: float | None


class CostTexts(TypedDict):
    """The costs of an arm as texts."""

    arm: str
    runs: int
    spent: str
    whole: str
    saved: str
    tuning: str
    tokens: str
    usd: str


def length(material: Material) -> Section:
    """Return the section of the primary metric against the length of the answers."""
    by_arm = material.metrics()
    metric = material.metric
    near = sorted(LENGTHS, key=lambda name: name.split("/")[0] != metric.split("/")[0])
    name = next((one for one in near if any(one in found for found in by_arm.values())), None)
    if name is None:
        return Section(
            "length", "Quality against length", None, "No evaluation of this study measured the length of answers."
        )
    points = [
        Point(
            arm, found[name], found[metric], list(_seeds(material.runs.get(arm, {}), name, metric)), material.looks[arm]
        )
        for arm, found in by_arm.items()
        if _value(found, name) is not None and _value(found, metric) is not None
    ]
    if not points:
        note = f"No arm has both {metric} and {name}."
        return Section("length", "Quality against length", None, note)
    words = f"{metric} against {name}: " + "; ".join(
        f"{one.name} {value_of(one.y)} at {value_of(one.x)}" for one in points
    )
    figure = inline(plane(points, with_unit(name), with_unit(metric)), "length", words)
    return Section("length", "Quality against length", {"figure": figure, "arms": [one.name for one in points]})


def cost(material: Material) -> Section:
    """Return the section of what the runs cost, and would have cost had nothing been reused."""
    rows = [row for arm in material.arms if (row := _cost(material, arm)).runs]
    if not rows:
        return Section("cost", "Quality per cost", None, "No run has a record of its costs.")
    drawn = {*material.shown}
    points = [point for row in rows if row.arm in drawn and row.whole > 0 and (point := _point(material, row.arm))]
    figure = None
    if points:
        words = f"{material.metric} against device seconds a run: " + "; ".join(
            f"{one.name} {value_of(one.y)} at {duration(one.x['value'])}" for one in points
        )
        axis = "time by the clock of one run, had nothing been reused (seconds)"
        figure = inline(plane(points, axis, with_unit(material.metric)), "cost", words)
    total = ArmCost(
        "all",
        sum(row.runs for row in rows),
        sum(row.spent for row in rows),
        sum(row.whole for row in rows),
        _sum(row.tuning for row in rows),
        sum(row.tokens for row in rows),
        _sum(row.usd for row in rows),
    )
    content = {
        "figure": figure,
        "rows": [_cost_texts(row) for row in rows],
        "total": _cost_texts(total),
        "tuned": any(row.tuning is not None for row in rows),
        "judged": any(row.tokens for row in rows),
    }
    fewer = f"The table is of all arms; in the figure {material.fewer}" if material.fewer and figure else ""
    return Section("cost", "Quality per cost", content, fewer=fewer)


def spent(run: RunFile) -> float:
    """Return the device seconds that a run took over all its attempts (its own costs are those of the last one)."""
    attempts = run.get("attempts") or []
    if attempts:
        return float(sum(attempt.get("device_seconds", 0.0) for attempt in attempts))
    return float(run["costs"]["device_seconds"])


def _seeds(runs: Mapping[int, RunFile], x: str, y: str) -> Iterable[tuple[float, float]]:
    for _, run in sorted(runs.items()):
        found = run.get("metrics", {})
        at = _value(found, x), _value(found, y)
        if at[0] is not None and at[1] is not None:
            yield at[0], at[1]


def _value(found: Mapping[str, MeasuredValue] | Mapping[str, RunEstimate], name: str) -> float | None:
    return found[name]["value"] if name in found else None


def _costed(material: Material, arm: str) -> list[RunFile]:
    return [run for _, run in sorted(material.runs.get(arm, {}).items()) if "costs" in run]


def _cost(material: Material, arm: str) -> ArmCost:
    runs = _costed(material, arm)
    tried = (material.study.get("tuning") or {}).get(arm) or []
    records = [sound_run(material.folder, name) for one in tried for name in one["runs"].values()]
    return ArmCost(
        arm,
        len(runs),
        spent=sum(spent(run) for run in runs),
        whole=sum(_whole(run) for run in runs),
        tuning=sum(spent(run) for run in records if "costs" in run) if tried else None,
        tokens=sum(run["costs"].get("judge_tokens") or 0 for run in runs),
        usd=_sum(run["costs"].get("judge_usd") for run in runs),
    )


def _point(material: Material, arm: str) -> Point | None:
    """Return an arm's quality against the price of a run; None where it has no quality or no finished run."""
    metrics = material.metrics()[arm]
    # what others had cost when they ended is not the price of a run
    finished = [run for run in _costed(material, arm) if run["status"] == "finished"]
    if not finished or _value(metrics, material.metric) is None:
        return None
    each = [(_whole(run), _value(run.get("metrics", {}), material.metric)) for run in finished]
    price: MeasuredValue = {"value": sum(whole for whole, _ in each) / len(each), "low": None, "high": None}
    seeds = [(whole, value) for whole, value in each if value is not None and whole > 0]
    return Point(arm, price, metrics[material.metric], seeds, material.looks[arm])


def _whole(run: RunFile) -> float:
    return float(run["costs"]["device_seconds_if_nothing_were_reused"])


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cost_texts(row: ArmCost) -> CostTexts:
    return {
        "arm": row.arm,
        "runs": row.runs,
        "spent": duration(row.spent),
        "whole": duration(row.whole),
        "saved": f"{100 * (1 - row.spent / row.whole):.0f} %" if row.whole > 0 else NONE,
        "tuning": duration(row.tuning),
        "tokens": f"{row.tokens:,}",
        "usd": number(row.usd),
    }
