"""Section of lineage: the command that reproduces each run, what it was made of, where, and what tuning tried."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import duration, span_of, value_of
from notus_exp.study.report.quality import spent

_TITLE = "Lineage: how to reproduce each number"


def lineage(material: Material) -> Section:
    """Return the section with every run's command, id, status, stages and surroundings, and the study's own command."""
    runs = [
        _run(material, arm, seed, run)
        for arm in material.study["arms"]
        for seed, run in sorted(material.runs.get(arm, {}).items())
    ]
    content = {
        "study": shlex.join(["python", "-m", "notus_exp", *material.study.get("command", [])]),
        "runs": runs,
        "surroundings": _surroundings(material),
        "tuning": _tuning(material),
        "protocol": _protocol(material),
    }
    return Section("lineage", _TITLE, content)


def command(material: Material, arm: str, seed: int | str) -> str:
    """Return the shell command of one run: the arm's overrides, what tuning chose, and the seed."""
    spec = material.study["arms"][arm]
    overrides = list(spec["overrides"])
    given = {override.partition("=")[0].lstrip("+~") for override in overrides}
    tuned = [f"{key}={value}" for key, value in (spec.get("tuned") or {}).items() if key not in given]
    alone = ["--run"] if "study" in given else []  # study=NAME would otherwise start the whole study
    return shlex.join(["python", "-m", "notus_exp", *alone, *overrides, *tuned, f"seed={seed}"])


def _run(material: Material, arm: str, seed: int, run: Mapping[str, Any]) -> dict[str, Any]:
    stages = run.get("stages", {})
    return {
        "arm": arm,
        "seed": seed,
        "command": command(material, arm, seed),
        "run_id": run.get("run_id") or material.study["arms"][arm]["runs"].get(str(seed)),
        "status": run["status"],
        "reason": run.get("error"),
        "stages": [
            {
                "name": name,
                "key": stage["key"],
                "reused": stage["reused"],
                "seconds": duration(stage["seconds_when_made"]),
            }
            for name, stage in stages.items()
        ],
        "seconds": duration(spent(run)) if "costs" in run else None,
    }


def _surroundings(material: Material) -> list[dict[str, Any]]:
    """Return each set of versions, commit and hardware once, with the runs that had it."""
    found: dict[str, dict[str, Any]] = {}
    for arm, by_seed in material.runs.items():
        for seed, run in sorted(by_seed.items()):
            if "versions" not in run:
                continue
            here = {
                "git_commit": run.get("git_commit"),
                "hardware": run.get("hardware") or {},
                "versions": run["versions"],
            }
            entry = found.setdefault(json.dumps(here, sort_keys=True, default=str), {**here, "runs": []})
            entry["runs"].append(f"{arm}, seed {seed}")
    return list(found.values())


def _tuning(material: Material) -> list[dict[str, Any]]:
    """Return, for each tuned arm, what was tried, how it did and what was chosen."""
    rows = []
    for arm, tried in (material.study.get("tuning") or {}).items():
        chosen = material.study["arms"].get(arm, {}).get("tuned") or {}
        keys = list(dict.fromkeys(key for one in tried for key in one["values"]))
        shown = [
            {
                "values": [one["values"].get(key, "") for key in keys],
                "text": value_of(_ends(one)),
                "span": span_of(_ends(one)),
                "reason": one.get("reason"),
                "chosen": one["values"] == chosen,
                "runs": one["runs"],
            }
            for one in tried
        ]
        rows.append({"arm": arm, "keys": keys, "tried": shown})
    return rows


def _ends(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": one["value"], "low": one.get("low"), "high": one.get("high")}


def _protocol(material: Material) -> list[tuple[str, str]]:
    """Return what was alike in all runs, flat."""
    found: list[tuple[str, str]] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping) and value:
            for key, part in value.items():
                walk(part, f"{path}.{key}" if path else str(key))
        else:
            found.append((path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))

    walk(material.comparison.get("protocol") or {}, "")
    return [row for row in found if row[0]]
