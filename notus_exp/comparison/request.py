"""What is compared: the finished runs, those without a result, and the metric, baseline and margin asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from notus_exp.comparison.membership import check_members
from notus_exp.contracts.run_file import RunFile, RunsBySeed
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk.outputs import NOT_STARTED, outputs, runs_of
from notus_exp.errors import UserError, did_you_mean, first_line, nearest
from notus_exp.evaluation.metrics import check_margin, have_one_scale, limit_of

FINISHED = "finished"


@dataclass(frozen=True)
class Request:
    """A study and what is asked of it.

    Attributes:
        study: Content of study.json.
        runs: Arm -> seed -> run.json of the finished runs; every arm is there.
        failed: Arm -> seed -> why there is no result.
        metric: The primary metric.
        baseline: The arm that the others are compared with.
        margin: Difference that would not matter, in the metric's unit; None where none was named, or the study's is of
            a metric with another unit or scale.
        limit: The largest value that the runs' settings leave to the metric; None where none bounds it.
        afterwards: Which of metric, baseline and margin differ from what the study named before its runs.
    """

    study: StudyFile
    runs: RunsBySeed
    failed: dict[str, dict[int, str]]
    metric: str
    baseline: str
    margin: float | None
    limit: float | None
    afterwards: list[str]


def ask(folder: Path, study: StudyFile, *, baseline: str | None, metric: str | None, margin: float | None) -> Request:
    """Settle what is compared; None takes what the study names.

    Raises:
        UserError: The arm or metric is unknown, the margin covers all that the metric can differ by, or a run is of
            another arm than the study says.
    """
    arms = study["arms"]
    if not arms:
        raise UserError(f"study '{study['name']}' has no arms", "give its command again: it plans them")
    primary = study["metric"] if metric is None else metric
    base = (study["baseline"] if baseline is None else baseline) or next(iter(arms))
    if base not in arms:
        raise UserError(f"study '{study['name']}' has no arm '{base}'", did_you_mean(base, arms))
    all_runs = runs_of(folder, study)
    runs = {
        arm: {seed: run for seed, run in by_seed.items() if run["status"] == FINISHED}
        for arm, by_seed in all_runs.items()
    }
    check_members(study, runs)
    _check_metric(runs, primary)
    limit = limit_of(primary, [run["config"].get("evaluation", {}) for one in runs.values() for run in one.values()])
    if margin is not None:
        check_margin(primary, margin, "--margin", limit)
    planned = study["margin"] if have_one_scale(primary, study["metric"]) else None
    changed = {
        "baseline": baseline not in (None, study["baseline"]),
        "metric": metric not in (None, study["metric"]),
        "margin": margin not in (None, planned),
    }
    return Request(
        study=study,
        runs=runs,
        failed={arm: _failed(folder, by_seed, study["seeds"]) for arm, by_seed in all_runs.items()},
        metric=primary,
        baseline=base,
        limit=limit,
        margin=planned if margin is None else margin,
        afterwards=[name for name, moved in changed.items() if moved],
    )


def tuning_runs(study: StudyFile) -> Iterator[tuple[str, str]]:
    """Yield the arm and the run's id of each run that tuned it."""
    for arm, tried in (study.get("tuning") or {}).items():
        for one in tried:
            for run in one["runs"].values():
                yield arm, run


def _check_metric(runs: RunsBySeed, metric: str) -> None:
    """Refuse a metric that no finished run reports; a run that refused to report it has a note that says why."""
    finished = [run for by_seed in runs.values() for run in by_seed.values()]
    known = {name for run in finished for name in run["metrics"] if not name.startswith(("base/", "difference/"))}
    if not finished or metric in known:
        return
    measured = (run["stages"]["evaluation"] for run in finished if "evaluation" in run["stages"])
    notes = (str(note) for stage in measured for note in stage["facts"].get("notes", []))
    why = next((note for note in notes if note.startswith(f"{metric.partition('/')[0]} is not reported")), None)
    raise UserError(f"no run of this study has the metric '{metric}'", why or nearest(metric, known))


def _failed(folder: Path, by_seed: dict[int, RunFile], expected: list[int]) -> dict[int, str]:
    """Return why a seed has no result, in one line that is the same wherever the outputs lie."""
    found = {}
    for seed in sorted({*by_seed, *expected}):
        run = by_seed.get(seed, {"status": NOT_STARTED})
        if run["status"] == FINISHED:
            continue
        first = first_line(run.get("error") or "")
        reason = first.replace(str(outputs(folder)), outputs(folder).name)
        found[seed] = (
            reason if run["status"] == "failed" and reason else f"{run['status']}{': ' * bool(reason)}{reason}"
        )
    return found
