"""What differs between runs and is no refusal: libraries, precisions, endpoints, engines, who a server served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from notus_exp.contracts.run_file import RunFile
from notus_exp.disk.outputs import manifest_of
from notus_exp.run.nodes import VERSIONED

Runs = Mapping[tuple[str, int], RunFile]
"""(arm, seed) -> content of run.json, of finished runs."""


def other_conditions(folder: Path, runs: Runs) -> list[str]:
    """Return what a reader must know of how runs were made and asked.

    Args:
        folder: The study's folder.
        runs: The finished runs.
    """
    return [
        *_other_versions(folder, runs),
        *_other_precision(runs),
        *_other_endpoints(runs),
        *_other_engines(runs),
        *_one_served(runs),
    ]


def named_run(run: tuple[str, int]) -> str:
    """Return how a reader is told of a run."""
    return f"arm '{run[0]}', seed {run[1]}"


def _other_versions(folder: Path, runs: Runs) -> list[str]:
    """Say which libraries changed between runs: numbers may move a little, so this is no refusal.

    What a stage was made with is read from its manifest, and compared with that of the same stage of other runs. Of one
    from before that was noted only the libraries are known that are in its key.
    """
    made_with: dict[str, dict[str, set[str]]] = {library: {} for library in ("notus-exp", *VERSIONED)}
    for run in runs.values():
        for node in run["stages"]:
            manifest = manifest_of(folder, run, node)
            for attempt in (manifest.provenance or [{"versions": dict(manifest.versions)}]) if manifest else []:
                for library, version in attempt.get("versions", {}).items():
                    if library in made_with:
                        made_with[library].setdefault(node, set()).add(str(version))
    found = []
    for library, by_node in made_with.items():
        versions = sorted(set[str]().union(*(each for each in by_node.values() if len(each) > 1)))
        if versions:
            found.append(f"the runs were made with different versions of {library}: {', '.join(versions)}")
    return found


def _other_precision(runs: Runs) -> list[str]:
    found = sorted({str(run["config"].get("dpo", {}).get("precision")) for run in runs.values()})
    many = f"the runs compute in different precisions (dpo.precision: {', '.join(found)}), in evaluation too"
    return [many] if len(found) > 1 else []


def _other_endpoints(runs: Runs) -> list[str]:
    """Say that runs were given different endpoints: a server may have moved, so this is no refusal."""
    found = []
    for group, begins in (("generation", "generations"), ("judge", "judgments")):
        asking = [run["config"].get(group) or {} for run in runs.values() if _has_stage(run, begins)]
        addresses = sorted({str(settings["base_url"]) for settings in asking if "base_url" in settings})
        if len(addresses) > 1:
            found.append(f"the runs asked different endpoints ({group}.base_url: {', '.join(addresses)})")
    return found


def _other_engines(runs: Runs) -> list[str]:
    """Say that servers of the runs' own were of several programs or versions, which are known when they run."""
    stages = [stage for run in runs.values() for stage in run["stages"].values()]
    engines = sorted({str(name) for stage in stages for name in stage.get("facts", {}).get("engines") or {}})
    if len(engines) < 2:
        return []
    return [f"the answers were given by different engines ({', '.join(engines)}): generation.version holds runs to one"]


def _one_served(runs: Runs) -> list[str]:
    """Say that one served model answered for the policies of several runs, which a server can be made to do in turn."""
    owners: dict[tuple[str, str], tuple[tuple[str, int], str]] = {}
    found: dict[str, str] = {}
    for name, run in runs.items():
        generation = run["config"].get("generation") or {}
        if "base_url" not in generation or "policy" not in run["stages"] or not _has_stage(run, "generations"):
            continue
        served, policy = str(generation["policy_model"]), run["stages"]["policy"]["key"]
        owner, known = owners.setdefault((str(generation["base_url"]), served), (name, policy))
        if known != policy:
            found.setdefault(
                served,
                f"generation.policy_model={served} answered for different policies, such as those of "
                f"{named_run(owner)} and {named_run(name)}: unless each was served under it in its turn, their answers "
                "are one model's",
            )
    return list(found.values())


def _has_stage(run: RunFile, begins: str) -> bool:
    return any(node.startswith(begins) for node in run["stages"])
