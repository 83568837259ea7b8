"""Section of lineage: the command that reproduces each run, what it was made of, where, and what tuning tried."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, TypedDict

from notus_exp.contracts.run_file import RunFile
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import ShownValue, duration, shown
from notus_exp.study.report.quality import spent

_TITLE = "Lineage"


class ShownStage(TypedDict):
    """A stage of a run: its key, whether it was reused, and what making it took."""

    name: str
    key: str
    reused: bool
    seconds: str


class ShownRun(TypedDict):
    """A run: how to reproduce it, how it ended and what it is made of; None for what is not known."""

    arm: str
    seed: int
    command: str
    run_id: str | None
    status: str
    reason: str | None
    stages: list[ShownStage]
    seconds: str | None


class Surroundings(TypedDict):
    """What some runs were made with, and which."""

    git_commit: str | None
    hardware: dict[str, str | int]
    versions: dict[str, str | None]
    runs: list[str]


class ShownCandidate(ShownValue):
    """What tuning tried: the values of the keys, how it did, and why it has no value."""

    values: list[str]
    reason: str | None
    chosen: bool
    runs: dict[str, str]


class TuningTable(TypedDict):
    """What tuning tried for an arm, over the keys that it varied."""

    arm: str
    keys: list[str]
    tried: list[ShownCandidate]


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
    tuned = [f"{key}={value}" for key, value in spec["tuned"].items() if key not in given]
    alone = ["--run"] if "study" in given else []  # study=NAME would otherwise start the whole study
    return shlex.join(["python", "-m", "notus_exp", *alone, *overrides, *tuned, f"seed={seed}"])


def _run(material: Material, arm: str, seed: int, run: RunFile) -> ShownRun:
    stages: list[ShownStage] = [
        {
            "name": name,
            "key": stage["key"],
            "reused": stage["reused"],
            "seconds": duration(stage["seconds_when_made"]),
        }
        for name, stage in run.get("stages", {}).items()
    ]
    return {
        "arm": arm,
        "seed": seed,
        "command": command(material, arm, seed),
        "run_id": run.get("run_id") or material.study["arms"][arm]["runs"].get(str(seed)),
        "status": run["status"],
        "reason": run.get("error"),
        "stages": stages,
        "seconds": duration(spent(run)) if "costs" in run else None,
    }


def _surroundings(material: Material) -> list[Surroundings]:
    """Return each set of versions, commit and hardware once, with the runs that had it."""
    found: dict[str, Surroundings] = {}
    for arm, by_seed in material.runs.items():
        for seed, run in sorted(by_seed.items()):
            if "versions" not in run:
                continue
            here: Surroundings = {
                "git_commit": run.get("git_commit"),
                "hardware": run.get("hardware") or {},
                "versions": run["versions"],
                "runs": [],
            }
            entry = found.setdefault(json.dumps(here, sort_keys=True, default=str), here)
            entry["runs"].append(f"{arm}, seed {seed}")
    return list(found.values())


def _tuning(material: Material) -> list[TuningTable]:
    """Return, for each tuned arm, what was tried, how it did and what was chosen."""
    tables: list[TuningTable] = []
    for arm, tried in (material.study.get("tuning") or {}).items():
        chosen = material.study["arms"][arm]["tuned"] if arm in material.study["arms"] else {}
        keys = list(dict.fromkeys(key for one in tried for key in one["values"]))
        rows: list[ShownCandidate] = [
            {
                "values": [one["values"].get(key, "") for key in keys],
                **shown(one),
                "reason": one["reason"],
                "chosen": one["values"] == chosen,
                "runs": one["runs"],
            }
            for one in tried
        ]
        tables.append({"arm": arm, "keys": keys, "tried": rows})
    return tables


def _protocol(material: Material) -> list[tuple[str, str]]:
    """Return what was alike in all runs, flat."""
    found: list[tuple[str, str]] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping) and value:
            for key, part in value.items():
                walk(part, f"{path}.{key}" if path else str(key))
        else:
            found.append((path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))

    walk(material.comparison["protocol"], "")
    return [row for row in found if row[0]]
