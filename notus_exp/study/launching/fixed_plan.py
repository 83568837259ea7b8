"""What a study planned before it had results: metric, baseline and margin stay, and what is added later is dated."""

from __future__ import annotations

import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.study_file import ArmRecord, FixedPlan, StudyFile
from notus_exp.disk.outputs import COMPARISON_JSON, read_run
from notus_exp.errors import UserError
from notus_exp.reporting.console import shorten
from notus_exp.study.launching.definition import results, written


def refuse_another_plan(before: StudyFile, now: StudyFile, folder: Path) -> None:
    """Refuse another metric, baseline or margin than a study with results was planned with.

    Args:
        before: study.json as it lies there.
        now: What a command would write in its place.
        folder: The study's.

    Raises:
        UserError: Naming what was planned and what the command has instead.
    """
    planned, given = _changes(before, now)
    if not planned or not _has_results(before, folder):
        return
    look = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in given.items() if value is not None)
    ways = [f"to go on as planned give {_settings(planned)}"]
    if look:
        ways.append(f"to look at it otherwise: python -m notus_exp.compare {shlex.quote(shorten(folder))} {look}")
    ways.append("to plan anew give another study.name=NAME, which reuses the runs")
    raise UserError(
        f"the study '{before['name']}' has results and was planned with {_settings(planned)}, but this command has"
        f" {_settings(given)}",
        "; ".join(ways),
    )


def keep_plan(study: StudyFile, before: StudyFile | None, folder: Path) -> list[str]:
    """Carry over when a study's plan was made, and write down what this command adds to a study with results.

    Args:
        study: What will be study.json; it is given its `plan`.
        before: study.json as it lies there; None where there is none, or none that can be read.
        folder: The study's.

    Returns:
        What the user is told of it, a sentence each.
    """
    today = datetime.now(UTC).date().isoformat()
    if before is None:
        study["plan"] = {"named": today, "results": None, "fixed": False, "added": []}
        return []
    fixed = _has_results(before, folder)
    planned, given = _changes(before, study)
    plan: FixedPlan
    if "plan" in before:
        plan = {**before["plan"], "added": [*before["plan"]["added"]], "fixed": fixed}
    else:
        plan = {"named": None if fixed else today, "results": 0, "fixed": fixed, "added": []}
    study["plan"] = plan
    if planned:  # there are no results: a change with results was refused before
        plan |= {"named": today, "results": None}
        return [f"no run has results yet, so the plan changes from {_settings(planned)} to {_settings(given)}"]
    if not fixed:
        return []
    said = []
    if "plan" not in before:
        said.append("when metric, baseline and margin were named is not recorded: they are taken from this command")
    seeds = [seed for seed in study["seeds"] if seed not in before["seeds"]]
    arms = [arm for arm, spec in study["arms"].items() if not _is_same(before["arms"].get(arm), spec)]
    if seeds or arms:
        plan["added"].append({"date": today, "results": count_results(before, folder), "seeds": seeds, "arms": arms})
        what = [*(f"seed {seed}" for seed in seeds), *(f"arm '{arm}'" for arm in arms)]
        said.append(f"the study has results, so its report will say that this was added: {', '.join(what)}")
    return said


def count_results(study: StudyFile, folder: Path) -> int:
    """Count the runs of a study's arms that have metrics."""
    runs = (read_run(folder, run) for arm in study["arms"].values() for run in arm["runs"].values())
    return sum(run["status"] == "finished" and bool(run["metrics"]) for run in runs)


def _has_results(study: StudyFile, folder: Path) -> bool:
    """Say whether anybody may have seen what arms reached, even where data changed since or runs were deleted."""
    if study.get("plan", {}).get("fixed") or count_results(study, folder):
        return True
    with suppress(FileNotFoundError, DamagedFileError):
        return any(arm["seeds"] for arm in read_comparison(folder / COMPARISON_JSON).get("arms", []))
    return False


def _changes(before: StudyFile, now: StudyFile) -> tuple[dict[str, object], dict[str, object]]:
    """Return what was planned and what is asked now, of the settings in which they differ."""
    one, other = _asked(before), _asked(now)
    changed = [key for key, value in one.items() if value != other[key]]
    return {key: one[key] for key in changed}, {key: other[key] for key in changed}


def _asked(study: StudyFile) -> dict[str, object]:
    baseline = study["baseline"] or next(iter(study["arms"]), None)
    return {"metric": study["metric"], "baseline": baseline, "margin": study["margin"]}


def _settings(values: dict[str, object]) -> str:
    return " ".join(f"study.{key}={written(value)}" for key, value in values.items())


def _is_same(before: ArmRecord | None, now: ArmRecord) -> bool:
    return before is not None and results(before["overrides"]) == results(now["overrides"])
