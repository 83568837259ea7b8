"""Section of lineage: the command that reproduces each run, what it was made of, where, and what tuning tried."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from notus_exp.config.commandline import single_run
from notus_exp.contracts.provenance import Provenance, made_in_words
from notus_exp.contracts.run_file import RunFile
from notus_exp.disk.outputs import manifest_of
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import ShownValue, duration, shown
from notus_exp.study.report.quality import spent

_TITLE = "Lineage"


class ShownStage(TypedDict):
    """A stage of a run: its key, whether it was reused, what making it took, when and where that was."""

    name: str
    key: str
    reused: bool
    seconds: str
    made: str


class ShownRun(TypedDict):
    """A run: how to reproduce it, how it ended, what it is made of and by which commands; None: not known."""

    arm: str
    seed: int
    command: str
    run_id: str | None
    status: str
    reason: str | None
    stages: list[ShownStage]
    made_by: list[tuple[str, str]]
    seconds: str | None


class MadeWith(TypedDict):
    """What some artifacts were made with, and which; nothing but those where it was not recorded."""

    recorded: bool
    git_commit: str | None
    hardware: dict[str, str | int]
    versions: dict[str, str | None]
    artifacts: list[str]


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
    """Return the section with every run's command, id, status and stages, what made those, and the study's command."""
    runs = [
        _run(material, arm, seed, run)
        for arm in material.study["arms"]
        for seed, run in sorted(material.runs.get(arm, {}).items())
    ]
    content = {
        "study": shlex.join(["python", "-m", "notus_exp", *material.study.get("command", [])]),
        "runs": runs,
        "made_with": _made_with(material),
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
    return shlex.join(["python", "-m", "notus_exp", *single_run([*overrides, *tuned, f"seed={seed}"])])


def _run(material: Material, arm: str, seed: int, run: RunFile) -> ShownRun:
    made = {name: _provenance(material, run, name) for name in run.get("stages", {})}
    stages: list[ShownStage] = [
        {
            "name": name,
            "key": stage["key"],
            "reused": stage["reused"],
            "seconds": duration(stage["seconds_when_made"]),
            "made": made_in_words(made[name]),
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
        "made_by": _made_by(made),
        "seconds": duration(spent(run)) if "costs" in run else None,
    }


def _provenance(material: Material, run: RunFile, node: str) -> list[Provenance]:
    """Return the attempts that made an artifact; none where its manifest does not say, or is gone."""
    manifest = manifest_of(material.folder, run, node)
    return manifest.provenance if manifest else []


def _made_by(attempts: Mapping[str, Sequence[Provenance]]) -> list[tuple[str, str]]:
    """Return each command that made artifacts of a run, with those."""
    found: dict[str, list[str]] = {}
    for node, each in attempts.items():
        for words in dict.fromkeys(
            shlex.join(single_run(attempt["command"])) for attempt in each if "command" in attempt
        ):
            found.setdefault(words, []).append(node)
    return [(f"python -m notus_exp {words}".rstrip(), ", ".join(nodes)) for words, nodes in found.items()]


def _made_with(material: Material) -> list[MadeWith]:
    """Return each set of versions, commit and hardware once, with the artifacts that were made with it."""
    found: dict[str, MadeWith] = {}
    named: set[str] = set()
    for arm, by_seed in material.runs.items():
        for seed, run in sorted(by_seed.items()):
            for node, stage in run.get("stages", {}).items():
                if stage["key"] in named:  # shared with a run before
                    continue
                named.add(stage["key"])
                nothing: Provenance = {}
                for attempt in _provenance(material, run, node) or [nothing]:
                    here: MadeWith = {
                        "recorded": bool(attempt),
                        "git_commit": attempt.get("git_commit"),
                        "hardware": attempt.get("hardware", {}),
                        "versions": attempt.get("versions", {}),
                        "artifacts": [],
                    }
                    entry = found.setdefault(json.dumps(here, sort_keys=True), here)
                    entry["artifacts"].append(f"{node} of {arm}, seed {seed}")
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
