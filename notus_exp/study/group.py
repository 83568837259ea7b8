"""A study's group in W&B: every run of it and every trial of a search, made here or reused, and a run for the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, cast

from notus_exp.config.schema import Tracking
from notus_exp.config.searched_metrics import searched_metrics
from notus_exp.contracts.comparison_file import ComparisonFile
from notus_exp.contracts.run_file import RunFile
from notus_exp.contracts.study_file import SearchSummary, StudyFile, TrialRecord
from notus_exp.disk.locks import locked
from notus_exp.disk.outputs import NOT_STARTED, read_run, runs_of
from notus_exp.reporting.texts import many
from notus_exp.run.retelling import retell
from notus_exp.tracking import (
    EXPIRED,
    Ending,
    Membership,
    candidate_of,
    is_told_already,
    of_trial,
    told_before,
    track_study,
    tracks,
)

_GOES_ON = ("running", NOT_STARTED)
"""Status of a run, or state of a trial, of which there is nothing to tell yet."""
COMPLETE, LEFT = "complete", "left"
"""State of a trial that has values; status of a run that the study no longer has."""


class EndedRun(NamedTuple):
    """A run of a study, as the study counts it.

    Attributes:
        member: Its place.
        run: Its run.json, or what stands for it.
        ending: How it ended.
    """

    member: Membership
    run: RunFile
    ending: Ending


def track(
    tracking: Tracking,
    study: StudyFile,
    comparison: ComparisonFile,
    folder: Path,
    warn: Callable[[str], None],
    found: SearchSummary | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Make a study's group in W&B say what the study says: tell what was not told yet, then the study's own run.

    Args:
        tracking: Where it goes; nothing is done where that is nowhere.
        study: study.json.
        comparison: comparison.json.
        folder: outputs/studies/<name>.
        warn: Told what W&B does not take.
        found: What a search found; None for arms.
        say: Told how many runs W&B is told of.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    track_runs(tracking, study, folder, warn, found, say)
    if tracks(tracking):
        with _alone(folder, warn):
            track_study(tracking, study, comparison, folder, warn, found)


def track_runs(
    tracking: Tracking,
    study: StudyFile,
    folder: Path,
    warn: Callable[[str], None],
    found: SearchSummary | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Tell W&B of the runs of a study that it was not told of as they are now, or that have left the study.

    The arguments and errors are those of `track`.
    """
    if not tracks(tracking):
        return
    with _alone(folder, warn):
        ended = [*parts(study, folder, found), *(_gone(tracking, study, folder) if found is None else [])]
        untold = [part for part in ended if not is_told_already(tracking, part.member, part.ending, folder)]
        if untold:
            say(f"telling W&B of {many(len(untold), 'run')} of {study['name']} made before, or counted otherwise")
        for part in untold:
            retell(tracking, part.member, part.run, folder, warn, part.ending)


def _alone(folder: Path, warn: Callable[[str], None]) -> AbstractContextManager[None]:
    """Return what keeps other processes from telling W&B of the same study meanwhile."""
    return locked(folder / ".tracking.lock", lambda: warn("waiting for another process that tells W&B of this study"))


def _gone(tracking: Tracking, study: StudyFile, folder: Path) -> Iterator[EndedRun]:
    """Yield what stands for arms and seeds that W&B was told of and that the study no longer has."""
    there = {(arm, int(seed)) for arm, spec in study["arms"].items() for seed in spec["runs"]}
    there |= {(arm, int(seed)) for arm, seeds in (study.get("unplanned") or {}).items() for seed in seeds}
    for member in told_before(tracking, folder):
        if not member.candidate and (member.arm, member.seed) not in there:
            yield EndedRun(member, {"status": LEFT}, Ending(LEFT, {}, [], {}, "it is no part of the study any more"))


def parts(study: StudyFile, folder: Path, found: SearchSummary | None) -> Iterator[EndedRun]:
    """Yield the runs of a study that have ended: those that are compared, and those that tuned its arms.

    Args:
        study: study.json.
        folder: The study's.
        found: What a search found; None for arms.
    """
    if found is not None:
        about = searched_metrics(found["objectives"], study["search"]["constraints"], study["metric"])
        for trial in found["trials"]:
            yield from _of_trial(study, folder, trial, about)
        return
    metrics = (study["metric"],)
    for arm, tried in (study.get("tuning") or {}).items():
        for entry in tried:
            for number, run in entry["runs"].items():
                member = Membership(study["name"], arm, int(number), None, candidate_of(entry["values"]), metrics)
                yield from _ended(member, read_run(folder, run))
    for arm, by_seed in runs_of(folder, study).items():
        ids = study["arms"][arm]["runs"]
        for seed, record in by_seed.items():
            # of one that was killed the study knows the end, and its own record what it was
            known = read_run(folder, ids[str(seed)]) if str(seed) in ids else record
            yield from _ended(Membership(study["name"], arm, seed, metrics=metrics), cast(RunFile, {**known, **record}))


def _ended(member: Membership, run: RunFile) -> Iterator[EndedRun]:
    if run["status"] not in _GOES_ON:
        yield EndedRun(member, run, Ending.of(run, []))


def _of_trial(study: StudyFile, folder: Path, trial: TrialRecord, metrics: Sequence[str]) -> Iterator[EndedRun]:
    """Yield a trial's runs; one that stands for it where none began.

    Where the trial has no values none of its runs is called finished, although another trial of the same parameters
    may have finished it: what W&B means over a trial's runs are its values.
    """
    if trial["state"] in _GOES_ON or trial.get("elsewhere"):  # the machine that has its runs tells of it
        return
    records = {int(seed): read_run(folder, run) for seed, run in trial["runs"].items()}
    begun = {seed: run for seed, run in records.items() if run["status"] not in _GOES_ON}
    if not begun:
        seed = min(records, default=study["seeds"][0])
        begun = {seed: {"status": trial["state"], "config": _nested(trial["params"], seed)}}
    for seed, run in begun.items():
        ending = Ending.of(run, [])
        if trial["state"] == EXPIRED:  # the trial that has its parameters again has its runs
            ending = Ending(EXPIRED, {}, [], {}, trial["reason"])
        elif trial["state"] != COMPLETE and run["status"] in ("finished", trial["state"]):
            ending = ending._replace(status=trial["state"], error=run.get("error") or trial["reason"])
        yield EndedRun(of_trial(study["name"], trial["number"], seed, metrics), run, ending)


def _nested(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the config of a run that never was: what is known of it, nested as a config is."""
    config: dict[str, Any] = {"seed": seed, "evaluation_split": "validation", "choices": {}}
    for key, value in params.items():
        *groups, last = key.split(".")
        place = config if groups else config["choices"]
        for group in groups:
            place = cast(dict[str, Any], place.setdefault(group, {}))
        place[last] = value
    return config
