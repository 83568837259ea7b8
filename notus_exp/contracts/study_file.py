"""study.json: what a study consists of and which runs belong to it; and what a search's storage tells of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from notus_exp.contracts.format import DamagedFileError, check_kinds, check_shape, read_object
from notus_exp.contracts.measured import MeasuredValue

FORMAT = 2
"""The version of study.json that is written, and the newest that is read."""
_SEALED_SINCE = 2
"""The first version whose files all have a seal; some of version 1 have one."""


class ArmRecord(TypedDict):
    """An arm as the study planned it.

    Attributes:
        overrides: All of its runs' overrides, but for the seed and what tuning chose.
        levels: Setting -> value, where it is a cell of a grid.
        tuned: Setting -> value that tuning chose; empty where nothing was tuned.
        runs: Seed -> run id.
    """

    overrides: list[str]
    levels: dict[str, str]
    tuned: dict[str, str]
    runs: dict[str, str]


class TuningEntry(MeasuredValue):
    """A candidate that was tried for an arm: the mean over validation prompts and the tuning's seeds, if it has one.

    Attributes:
        values: Setting -> value.
        runs: Seed -> run id.
        reason: Why it has no value, else None.
    """

    values: dict[str, str]
    runs: dict[str, str]
    reason: str | None


class SearchRecord(TypedDict):
    """What a search is; its trials are in its storage.

    Attributes:
        storage_file: Name of the storage's file in the study's folder; None where `storage` is a database elsewhere.
        storage: URL of that database, without a password, its user a parameter; None for a file.
        objectives: Metric -> minimize or maximize.
        constraints: Metric -> least and/or most, in its unit.
        parameters: Setting -> what is tried for it.
        sampler: Name of the sampler.
        pruner: Name of the pruner, or `none`.
    """

    storage_file: str | None
    storage: NotRequired[str | None]
    objectives: dict[str, str]
    constraints: dict[str, Any]
    parameters: dict[str, Any]
    sampler: NotRequired[str]
    pruner: NotRequired[str]


class AddedLater(TypedDict):
    """What a command added to a study that had results.

    Attributes:
        date: Of the command, in ISO 8601, UTC.
        results: How many of the study's runs had results then.
        seeds: Seeds that were added.
        arms: Arms that were added, or became others; those have no finished run of before.
    """

    date: str
    results: int
    seeds: list[int]
    arms: list[str]


class FixedPlan(TypedDict):
    """When metric, baseline and margin were named; none of them is replaced once a run has results.

    Attributes:
        named: Date, in ISO 8601, UTC; None where results were there before this was recorded.
        results: How many of the study's runs had results then, which another study may have made; None until the runs
            are known.
        fixed: Whether a command found results, though data or code may have changed since.
        added: Arms and seeds that came later than results.
    """

    named: str | None
    results: int | None
    fixed: bool
    added: list[AddedLater]


class StudyFile(TypedDict):
    """The file. Nothing of it is state: how a run stands is in that run's run.json.

    Attributes:
        format: Version of this file.
        name: The study's name, and its folder's.
        kind: `arms`, `grid` or `search`.
        command: The arguments that it was started with, without credentials.
        metric: The primary metric.
        baseline: The arm that the others are compared with; None in a search.
        margin: Difference that would not matter, in the metric's unit; None where none was named.
        seeds: Of every arm.
        factors: Setting -> values of a grid, else None.
        arms: Name -> arm, in order; none in a search.
        tuning: Arm -> candidates that were tried for it; None where nothing was tuned.
        unplanned: Arm -> seed -> why a run left no record of its own.
        plan: When the primary contrasts were named and what was added later; not in a search, nor in files of before.
        search: Of a search alone.
    """

    format: NotRequired[int]
    name: str
    kind: str
    command: NotRequired[list[str]]
    metric: str
    baseline: str | None
    margin: float | None
    seeds: list[int]
    factors: NotRequired[dict[str, list[str]] | None]
    arms: dict[str, ArmRecord]
    tuning: NotRequired[dict[str, list[TuningEntry]] | None]
    unplanned: NotRequired[dict[str, dict[str, str]]]
    plan: NotRequired[FixedPlan]
    search: NotRequired[SearchRecord]


class TrialInterval(MeasuredValue):
    """A trial's value of an objective with its interval.

    Attributes:
        prompts: What it is a mean of: prompts, or whatever the metric counts.
    """

    prompts: int


class TrialRecord(TypedDict):
    """A trial of a search, as its storage has it.

    Attributes:
        number: Its number, from 0.
        state: `running`, `complete`, `pruned`, `failed` or `expired`.
        params: Setting -> value.
        values: Objective -> mean over the seeds, in the metric's unit; None before the trial is complete.
        constraints: Constrained metric -> likewise; those that were measured.
        feasible: Whether it keeps all constraints; None where it is not complete, or there are none.
        reason: Why it has no values, else None.
        seeds: How many seeds its values are a mean of.
        runs: Seed -> run id.
        repeats: Number of the lost trial whose parameters it has again, else None.
        intervals: Objective -> value with its interval, of those that have one.
        differences: Objective -> this trial minus the best one, paired by prompt and seed, with its interval; of the
            others than the best, where one objective decides.
        elsewhere: True where another machine has the folders of its runs, and this one does not; else left out.
    """

    number: int
    state: str
    params: dict[str, Any]
    values: dict[str, float | None]
    constraints: dict[str, float]
    feasible: bool | None
    reason: str | None
    seeds: int
    runs: dict[str, str]
    repeats: int | None
    intervals: NotRequired[dict[str, TrialInterval]]
    differences: NotRequired[dict[str, TrialInterval]]
    elsewhere: NotRequired[bool]


MATTERS, CANNOT_TELL = "matters", "cannot tell"
"""What can be said of a setting of a search."""


class ImportanceRow(MeasuredValue):
    """What a setting of a search matters: its share, between 0 and 1, with a 90 % interval.

    The value is None where the setting cannot be weighed, the ends where too few draws tell of them.

    Attributes:
        p: Of the permutation test; None where the setting cannot be weighed.
        holm: p by Holm among the settings.
        trials: Complete trials that have the setting.
        verdict: `matters` or `cannot tell`.
        reason: Why it has no share, else None.
    """

    p: float | None
    holm: float | None
    trials: int
    verdict: str
    reason: str | None


class SearchSummary(TypedDict):
    """What a search found.

    Attributes:
        objectives: Metric -> minimize or maximize.
        trials: All that were asked, by number.
        parameters: Setting -> where it was searched, as in study.json.
        best: Numbers of the best trials, the one that was asked first in front: all that tie; with several objectives
            those that none beats in all.
        importances: Objective -> setting -> what it matters.
        importances_note: How they were found, or why there are none.
        command: What tests the best trials on test prompts, with the settings that were not searched as the baseline;
            None where there are none yet.
        said: What the best trial is worth, in sentences.
    """

    objectives: dict[str, str]
    parameters: dict[str, Any]
    trials: list[TrialRecord]
    best: list[int]
    importances: dict[str, dict[str, ImportanceRow]]
    importances_note: str | None
    command: str | None
    said: list[str]


_REMEDY = "the command that runs the study writes it again (python -m notus_exp study=NAME); its runs are kept"
_OF_STUDY = ("name", "kind", "metric", "seeds", "arms")
_OF_ARM = ("overrides", "levels", "tuned", "runs")
_OF_CANDIDATE = ("values", "runs", "value", "low", "high", "reason")
_OF_PLAN = ("named", "results", "fixed", "added")
_OF_ADDED = ("date", "results", "seeds", "arms")
_OF_SEARCH = ("storage_file", "objectives", "constraints", "parameters")


def read_study_file(path: Path, *, check_seal: bool = True) -> StudyFile:
    """Return the content of a study.json.

    Args:
        path: The file.
        check_seal: Whether content that does not fit its seal is refused.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It cannot be read.
        NewerFormatError: It is of a newer version.
    """
    try:
        content = read_object(path, FORMAT, sealed_since=_SEALED_SINCE, check_seal=check_seal)
        _check(content)
    except ValueError as error:
        raise DamagedFileError(f"{path} cannot be read: {error}", _REMEDY) from error
    return cast(StudyFile, content)


ROUNDS = "rounds.number"
"""The setting that is written `rounds=N`."""


def cell_name(levels: Mapping[str, str]) -> str:
    """Return the name of a grid's arm: it follows from the arm's levels, setting -> value."""
    short = {key: "rounds" if key == ROUNDS else key.rpartition(".")[2] for key in levels}
    if len({*short.values()}) < len(short):
        short = {key: key for key in levels}
    return ",".join(value if "." not in key else f"{short[key]}={value}" for key, value in levels.items())


def _check(content: dict[str, Any]) -> None:
    """Check what readers rely on.

    Raises:
        ValueError: Naming the place.
    """
    check_kinds(content, {}, required=_OF_STUDY)
    check_shape(content, StudyFile)
    for name, arm in content["arms"].items():
        check_kinds(arm, {}, required=_OF_ARM, where=f"arm '{name}'")
        _check_seeds(arm["runs"], f"arm '{name}'")
    for name, tried in (content.get("tuning") or {}).items():
        for candidate in tried:
            check_kinds(candidate, {}, required=_OF_CANDIDATE, where=f"a candidate for arm '{name}'")
            _check_seeds(candidate["runs"], f"a candidate for arm '{name}'")
    for name, reasons in (content.get("unplanned") or {}).items():
        _check_seeds(reasons, f"'unplanned', arm '{name}'")
    if "plan" in content:
        check_kinds(content["plan"], {}, required=_OF_PLAN, where="its 'plan'")
        for added in content["plan"]["added"]:
            check_kinds(added, {}, required=_OF_ADDED, where="what was added later")
    if "search" in content:
        check_kinds(content["search"], {}, required=_OF_SEARCH, where="its 'search'")


def _check_seeds(by_seed: dict[str, str], where: str) -> None:
    for seed in by_seed:
        if not seed.isascii() or not seed.isdigit():
            raise ValueError(f"{where} has the seed '{seed}'")
