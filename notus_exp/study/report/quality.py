"""Sections on what quality comes with: the length of the answers, and the cost of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from notus_exp.disk.outputs import read_run
from notus_exp.evaluation.catalogue import CATALOGUE
from notus_exp.reporting.figures import inline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import NONE, duration, number, span_of, value_of, with_unit
from notus_exp.study.report.plots import Point, plane

LENGTHS = [
    f"{spec.name}/{metric.name}"
    for unit in ("tokens", "characters")
    for spec in CATALOGUE.values()
    for metric in spec.metrics
    if metric.unit == unit
]
"""Metrics that tell how long answers are; the first that there is, of the primary metric's own answers if it can be."""


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
        if _known(found, name) and _known(found, metric)
    ]
    if not points:
        note = f"No arm has both {metric} and {name}."
        return Section("length", "Quality against length", None, note)
    words = f"{metric} against {name}: " + "; ".join(
        f"{one.name} {value_of(one.y)} at {value_of(one.x)}" for one in points
    )
    rows = [
        {
            "arm": one.name,
            "x": value_of(one.x),
            "x_span": span_of(one.x),
            "y": value_of(one.y),
            "y_span": span_of(one.y),
        }
        for one in points
    ]
    figure = inline(plane(points, with_unit(name), with_unit(metric)), "length", words)
    return Section(
        "length", "Quality against length", {"figure": figure, "rows": rows, "length": name, "metric": metric}
    )


def cost(material: Material) -> Section:
    """Return the section of what the runs cost, and would have cost had nothing been reused."""
    rows = [_cost_row(material, arm) for arm in material.arms]
    rows = [row for row in rows if row["runs"]]
    if not rows:
        return Section("cost", "Quality per cost", None, "No run has a record of its costs.")
    by_arm = material.metrics()
    points = [
        Point(
            row["arm"],
            {"value": sum(one["whole"] for one in row["each"]) / len(row["each"]), "low": None, "high": None},
            by_arm[row["arm"]][material.metric],
            [(one["whole"], one["y"]) for one in row["each"] if one["y"] is not None and one["whole"] > 0],
            material.looks[row["arm"]],
        )
        for row in rows
        if row["each"] and row["whole"] > 0 and _known(by_arm[row["arm"]], material.metric)
    ]
    figure = None
    if points:
        words = f"{material.metric} against device seconds a run: " + "; ".join(
            f"{one.name} {value_of(one.y)} at {duration(one.x['value'])}" for one in points
        )
        axis = "device time of one run, had nothing been reused (seconds)"
        figure = inline(plane(points, axis, with_unit(material.metric)), "cost", words)
    total = {key: sum(row[key] for row in rows) for key in ("spent", "whole", "tokens")}
    usd = _sum(row["usd"] for row in rows)
    content = {
        "figure": figure,
        "rows": [_cost_texts(row) for row in rows],
        "total": _cost_texts(
            {
                "arm": "all",
                "runs": sum(row["runs"] for row in rows),
                "usd": usd,
                "tuning": _sum(row["tuning"] for row in rows),
                **total,
            }
        ),
        "tuned": any(row["tuning"] is not None for row in rows),
        "judged": any(row["tokens"] for row in rows),
    }
    return Section("cost", "Quality per cost", content)


def spent(run: Mapping[str, Any]) -> float:
    """Return the device seconds that a run took over all its attempts (its own costs are those of the last one)."""
    attempts = run.get("attempts") or []
    if attempts:
        return float(sum(attempt.get("device_seconds", 0.0) for attempt in attempts))
    return float(run["costs"]["device_seconds"])


def _seeds(runs: Mapping[int, Mapping[str, Any]], x: str, y: str) -> Iterable[tuple[float, float]]:
    for _, run in sorted(runs.items()):
        found = run.get("metrics", {})
        if _known(found, x) and _known(found, y):
            yield found[x]["value"], found[y]["value"]


def _known(found: Mapping[str, Any], name: str) -> bool:
    return name in found and found[name]["value"] is not None


def _cost_row(material: Material, arm: str) -> dict[str, Any]:
    runs = [run for _, run in sorted(material.runs.get(arm, {}).items()) if "costs" in run]
    each = [
        {
            "whole": float(run["costs"]["device_seconds_if_nothing_were_reused"]),
            "y": (run.get("metrics", {}).get(material.metric) or {}).get("value"),
        }
        for run in runs
        if run["status"] == "finished"  # what others had cost when they ended is not the price of a run
    ]
    tried = (material.study.get("tuning") or {}).get(arm) or []
    records = [read_run(material.folder, name) for one in tried for name in one["runs"].values()]
    return {
        "arm": arm,
        "runs": len(runs),
        "each": each,
        "spent": sum(spent(run) for run in runs),
        "whole": sum(float(run["costs"]["device_seconds_if_nothing_were_reused"]) for run in runs),
        "tokens": sum(run["costs"].get("judge_tokens") or 0 for run in runs),
        "usd": _sum(run["costs"].get("judge_usd") for run in runs),
        "tuning": sum(spent(run) for run in records if "costs" in run) if tried else None,
    }


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cost_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "arm": row["arm"],
        "runs": row["runs"],
        "spent": duration(row["spent"]),
        "whole": duration(row["whole"]),
        "saved": f"{100 * (1 - row['spent'] / row['whole']):.0f} %" if row["whole"] > 0 else NONE,
        "tuning": duration(row["tuning"]),
        "tokens": f"{row['tokens']:,}",
        "usd": NONE if row["usd"] is None else number(row["usd"]),
    }
