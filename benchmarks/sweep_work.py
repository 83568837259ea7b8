"""Where the time of each side of `sweep.py` went: imports from Python's own notes, the rest by kind of work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.contracts.manifest import read_manifest

_IMPORT = re.compile(r"import time:\s+(\d+) \|")


class Timed(NamedTuple):
    """A measurement of one side.

    Attributes:
        wall: Wall time in seconds.
        cpu: Seconds of the processor, of all processes; on a busy machine it says more, if with one thread.
        imports: Seconds of it that all processes of the side spent importing.
        work: Seconds by kind of work.
        results: Counts and metrics of each arm.
    """

    wall: float
    cpu: float
    imports: float
    work: dict[str, float]
    results: list[dict[str, Any]]

    @property
    def after_imports(self) -> float:
        """Return what is left of the wall time."""
        return self.wall - self.imports


def import_seconds(text: str) -> float:
    """Return the seconds of all imports in processes' standard error.

    Python gives each module's own time, without what it imports in turn, so the sum counts nothing twice.
    """
    return sum(int(found[1]) for found in _IMPORT.finditer(text)) / 1e6


def join(first: Timed, second: Timed) -> Timed:
    """Return the sum of two measurements of the same side."""
    work = {name: seconds + second.work[name] for name, seconds in first.work.items()}
    results = [*first.results, *second.results]
    return Timed(first.wall + second.wall, first.cpu + second.cpu, first.imports + second.imports, work, results)


def script_work(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the scripts' seconds by kind of work; the imports are known to the caller."""
    seconds = [result["seconds"] for result in results]
    return {
        "reference": sum(one["reference"] for one in seconds),
        "base": sum(one["base log-probs"] + one["base answers"] for one in seconds),
        "training": sum(one["training"] - one["reference"] for one in seconds),
        "policy": sum(one["policy log-probs"] + one["policy answers"] for one in seconds),
        "curation": sum(one["curation"] for one in seconds),
    }


def framework_work(outputs: Path) -> dict[str, float]:
    """Return the framework's seconds by kind of work, from the manifests: each artifact was made once.

    A stage's seconds contain the imports of the worker that it is the first of; those are taken off. Log-probs of the
    base model are computed together for pairs and for scoring: their time is shared out by their tokens.
    """
    seconds: dict[str, float] = {}
    tokens: dict[str, int] = {"reference": 0, "base": 0}
    for path in outputs.glob("artifacts/*/manifest.json"):
        manifest = read_manifest(path)
        stage = manifest.stage
        if stage == "base_model":
            continue  # made before
        name = f"{stage} base" if stage == "generations" and "policy" not in manifest.inputs else stage
        seconds[name] = seconds.get(name, 0.0) + manifest.seconds
        if stage == "reference":
            tokens["base" if manifest.settings["preferences"] else "reference"] += manifest.facts["tokens"]
    for stage, imports in worker_imports(outputs).items():
        seconds[stage] -= imports
    share = tokens["base"] / sum(tokens.values())
    return {
        "reference": seconds["reference"] * (1 - share),
        "base": seconds["reference"] * share + seconds["generations base"],
        "training": seconds["policy"],
        "policy": seconds["likelihoods"] + seconds["generations"] + seconds["evaluation"],
        "curation": seconds["feedback"] + seconds["pairs"],
    }


def command_imports(outputs: Path) -> float:
    """Return the seconds that the command itself spent importing, as far as it kept what was said in a log."""
    logs = [*outputs.glob("runs/*/libraries.log"), *outputs.glob("studies/*/libraries.log")]
    return sum(import_seconds(log.read_text(encoding="utf-8", errors="replace")) for log in logs)


def worker_imports(outputs: Path) -> dict[str, float]:
    """Return the seconds that workers spent importing, by the first stage that each of them made."""
    found: dict[str, float] = {}
    for log in outputs.glob("*/*/worker.log"):
        job = json.loads((log.parent / "job.json").read_text(encoding="utf-8"))
        first = job["nodes"][0]["stage"]
        found[first] = found.get(first, 0.0) + import_seconds(log.read_text(encoding="utf-8", errors="replace"))
    return found
