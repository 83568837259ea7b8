"""What is compared: the finished runs, those without a result, and the metric, baseline and margin asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus_exp.disk.outputs import NOT_STARTED, outputs, read_run, runs_of
from notus_exp.errors import UserError, did_you_mean, first_line

FINISHED = "finished"


@dataclass(frozen=True)
class Asked:
    """A study and what is asked of it.

    Attributes:
        study: Content of study.json.
        runs: Arm -> seed -> run.json of the finished runs; every arm is there.
        failed: Arm -> seed -> why there is no result.
        metric: The primary metric.
        baseline: The arm that the others are compared with.
        margin: Difference that would not matter, in the metric's unit; None where none was named.
        afterwards: Which of metric, baseline and margin differ from what the study named before its runs.
    """

    study: dict[str, Any]
    runs: dict[str, dict[int, dict[str, Any]]]
    failed: dict[str, dict[int, str]]
    metric: str
    baseline: str
    margin: float | None
    afterwards: list[str]


def ask(
    folder: Path, study: dict[str, Any], *, baseline: str | None, metric: str | None, margin: float | None
) -> Asked:
    """Settle what is compared; None takes what the study names.

    Raises:
        UserError: The arm or metric is unknown.
    """
    arms, named = study["arms"], {name: study[name] for name in ("baseline", "metric", "margin")}
    if not arms:
        raise UserError(f"study '{study['name']}' has no arms", "give its command again: it plans them")
    given: dict[str, Any] = {"baseline": baseline, "metric": metric, "margin": margin}
    chosen = {name: named[name] if value is None else value for name, value in given.items()}
    base = chosen["baseline"] or next(iter(arms))
    if base not in arms:
        raise UserError(f"study '{study['name']}' has no arm '{base}'", did_you_mean(base, arms))
    all_runs = runs_of(folder, study)
    runs = {
        arm: {seed: run for seed, run in by_seed.items() if run["status"] == FINISHED}
        for arm, by_seed in all_runs.items()
    }
    _check_metric(runs, chosen["metric"])
    return Asked(
        study=study,
        runs=runs,
        failed={arm: _failed(folder, by_seed, study["seeds"]) for arm, by_seed in all_runs.items()},
        metric=chosen["metric"],
        baseline=base,
        margin=chosen["margin"],
        afterwards=[name for name, value in given.items() if value is not None and value != named[name]],
    )


def tuning_runs(study: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the arm and the run's id of each run that tuned it."""
    for arm, tried in (study.get("tuning") or {}).items():
        for one in tried:
            for run in one["runs"].values():
                yield arm, run


def searched_runs(folder: Path) -> list[str]:
    """Return whose prompts the runs of a search were measured on: test, validation, both or none."""
    from notus_exp.study.search.summary import summary  # type: ignore[import-untyped,unused-ignore]  # imports Optuna

    ids = {run for trial in summary(folder)["trials"] for run in trial["runs"].values()}
    runs = [read_run(folder, run) for run in sorted(ids)]
    return sorted({run["config"].get("evaluation_split", "test") for run in runs if "config" in run})


def _check_metric(runs: dict[str, dict[int, dict[str, Any]]], metric: str) -> None:
    """Refuse a metric that no finished run reports; a run that refused to report it has a note that says why."""
    finished = [run for by_seed in runs.values() for run in by_seed.values()]
    known = {name for run in finished for name in run["metrics"] if not name.startswith(("base/", "difference/"))}
    if not finished or metric in known:
        return
    notes = (str(note) for run in finished for note in run["stages"]["evaluation"]["facts"].get("notes", []))
    why = next((note for note in notes if note.startswith(f"{metric.partition('/')[0]} is not reported")), None)
    raise UserError(f"no run of this study has the metric '{metric}'", why or did_you_mean(metric, known))


def _failed(folder: Path, by_seed: dict[int, dict[str, Any]], expected: list[int]) -> dict[int, str]:
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
