"""run.json: what a run was, what it reused and made, what it cost and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Required, TypedDict, cast

from notus_exp.contracts.format import SEAL, DamagedFileError, check_kinds, check_shape, check_whole, parse_checked
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.contracts.provenance import Surroundings

FORMAT = 2
"""The version of run.json that is written, and the newest that is read."""
_SEALED_SINCE = 2
"""The first version whose files all have a seal; some of version 1 have one."""


class RunEstimate(MeasuredValue):
    """A metric of one run.

    Attributes:
        n: Prompts, pairs or whatever the metric counts, that it is a mean of.
    """

    n: int


class StageRecord(TypedDict):
    """A stage's node of a run that is finished. With what it was made is told by its manifest alone.

    Attributes:
        key: Full key of its artifact.
        path: The artifact's folder, as it was when the run made or found it.
        reused: Whether the run found it: no attempt of the run made it. Here, in `seconds` and in `facts` older files
            tell of the last attempt alone, which may have found what an earlier one made.
        seconds: Wall time that the run took for it; 0 where it was reused.
        seconds_when_made: Wall time that making it took, whoever did.
        inputs: Input node name -> key.
        facts: What the stage counted, as in its manifest; of a reused `reference` that it computed nothing.
    """

    key: str
    path: str
    reused: bool
    seconds: float
    seconds_when_made: float
    inputs: dict[str, str]
    facts: dict[str, Any]


class AttemptRecord(Surroundings):
    """One start of a run, and with what: what that made is told of each artifact by its own manifest.

    Attributes:
        started: When, in ISO 8601, UTC.
        finished: When it ended; None where it goes on, or was killed.
        status: `running`, `finished`, `failed`, `interrupted`, `pruned`, or `killed`, which a later attempt finds out.
        error: Why it did not finish.
        made: Nodes that it made itself.
        device_seconds: Wall time of the worker's stages among them.
    """

    started: str
    finished: str | None
    status: str
    error: str | None
    made: list[str]
    device_seconds: float


class RunCosts(TypedDict):
    """What a run cost.

    Attributes:
        device_seconds: Wall time of the worker's stages, over all attempts; before attempts said with what they were
            made, of the last one.
        device_seconds_if_nothing_were_reused: The same, had it made all of them.
        judge_tokens: Tokens that judges read and wrote, over all attempts.
        judge_usd: USD that they cost, over all attempts; None where no prices are known.
    """

    device_seconds: float
    device_seconds_if_nothing_were_reused: float
    judge_tokens: int
    judge_usd: float | None


class RoundRecord(TypedDict):
    """One of several rounds, as far as it was evaluated.

    Attributes:
        round: Its number, from 1.
        metrics: As those of the run, of the policy of this round, on the same prompts and beside the same base model.
    """

    round: int
    metrics: dict[str, RunEstimate]


class RunFile(TypedDict, total=False):
    """The file. Of a run that has not begun readers know the `status` alone, and perhaps the `error`.

    Attributes:
        format: Version of this file.
        run_id: The run's name, and its folder's; it ends in a hash of all that moves the result.
        status: `running`, `finished`, `failed`, `interrupted` or `pruned`; of the last attempt.
        command: As `versions`.
        choices: Group -> option; of the attempt that `config` is of.
        config: The whole config, nested, without credentials: of the last attempt that made anything, since one that
            finds all made may have named another machine.
        seed: Of training and curation.
        started: Of the first attempt that made anything, in ISO 8601, UTC; where none did, of the first that came to
            its end, else of the last.
        finished: When the last attempt that made anything ended; None where that goes on. Of an attempt that found all
            made, `attempts` alone tells the times.
        error: Why the last attempt did not finish.
        attempts: Every start, the last being this one.
        artifacts: Names of the folders of everything that the run's plan consists of, made already or not.
        stages: Node name -> what there is of it, in the order in which they were finished; while a later attempt goes
            on, and where it ends early, what earlier ones recorded stays.
        metrics: Metric -> estimate, in its own unit; `base/...` is the base model's, `difference/...` the paired
            difference of policy and base model. Empty before the evaluation.
        rounds: Of a run of several rounds, each that was evaluated; `metrics` and `unscored` are of the last.
        unscored: Evaluation that was asked for and has no score -> why; not there in runs from before it was noted.
        costs: What it cost.
        versions: Here only in files from before attempts had their own: of the last attempt, whatever it made.
        hardware: As `versions`.
        git_commit: As `versions`.
    """

    format: int
    run_id: str
    status: Required[str]
    command: list[str]
    choices: dict[str, str]
    config: dict[str, Any]
    seed: int
    started: str
    finished: str | None
    error: str | None
    attempts: list[AttemptRecord]
    artifacts: list[str]
    stages: dict[str, StageRecord]
    metrics: dict[str, RunEstimate]
    rounds: list[RoundRecord]
    unscored: dict[str, str]
    costs: RunCosts
    versions: dict[str, str | None]
    hardware: dict[str, str | int]
    git_commit: str | None


RunsBySeed = dict[str, dict[int, RunFile]]
"""Arm -> seed -> run.json."""

_RENAMED = {"alpaca_eval/length_controlled_win_rate": "alpaca_eval/length_adjusted_win_rate"}
"""Metric as runs of before reported it -> its name now: it never was the estimator that the old name belongs to."""

_OF_FINISHED = ("config", "stages", "metrics")
_SINCE_2 = ("run_id", "artifacts", "stages")
_OF_STAGE = ("key", "path", "facts")
_OF_COSTS = ("device_seconds", "device_seconds_if_nothing_were_reused")


def read_run_file(path: Path) -> RunFile:
    """Return the content of a run.json, metrics and the profile's launch under the names that they have now.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It cannot be read; the run's next attempt writes it anew.
        NewerFormatError: It is of a newer version.
    """
    try:
        content = parse_checked(path, _check_file)
    except ValueError as error:
        raise DamagedFileError(f"{path} cannot be read: {error}", "the command of the run writes it again") from error
    content.pop(SEAL, None)
    if "metrics" in content:
        content["metrics"] = {_name_now(name): value for name, value in content["metrics"].items()}
    hardware = content.get("config", {}).get("hardware")
    if isinstance(hardware, dict) and hardware.get("launch") == "accelerate":
        hardware["launch"] = "ddp" if hardware.get("zero_stage") is None else "deepspeed"
    return cast(RunFile, content)


def made_with(run: RunFile) -> Surroundings:
    """Return command, machine, libraries and commit of the last attempt that made anything; empty where none says so.

    Of a file from before attempts had them it is what the file says itself. What made a single stage is told by its
    manifest.
    """
    attempts = [one for one in run.get("attempts", []) if "hardware" in one]
    making = [one for one in attempts if one.get("made")]
    source: Any = making[-1] if making else run if "hardware" in run or not attempts else attempts[-1]
    return cast(Surroundings, {key: source[key] for key in Surroundings.__annotations__ if key in source})


def _name_now(metric: str) -> str:
    prefix = "base/" if metric.startswith("base/") else ""
    return prefix + _RENAMED.get(metric.removeprefix(prefix), metric.removeprefix(prefix))


def read_metrics(path: Path) -> dict[str, RunEstimate]:
    """Return the content of an evaluation's metrics.json: metric -> estimate.

    Raises:
        DamagedFileError: It cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check_shape(content, dict[str, RunEstimate])
        _check_metrics(content, ("value", "low", "high", "n"))
    except (ValueError, OSError, RecursionError) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}", f"delete {path.parent} and run again") from error
    return cast(dict[str, RunEstimate], content)


def _check_file(content: dict[str, Any], path: Path) -> None:
    check_whole(content, path, FORMAT, sealed_since=_SEALED_SINCE)
    _check({key: value for key, value in content.items() if key != SEAL})


def _check(content: dict[str, Any]) -> None:
    """Check what readers rely on.

    Raises:
        ValueError: Naming the place.
    """
    check_kinds(content, {}, required=("status",))
    check_shape(content, RunFile)
    check_kinds(content, {}, required=_OF_FINISHED if content["status"] == "finished" else ())
    check_kinds(content, {}, required=_SINCE_2 if content.get("format", 1) >= 2 else ())
    for number, attempt in enumerate(content.get("attempts", []), 1):
        check_kinds(attempt, {}, required=("status",), where=f"attempt {number}")
    for name, stage in content.get("stages", {}).items():
        check_kinds(stage, {}, required=_OF_STAGE, where=f"stage '{name}'")
    _check_metrics(content.get("metrics", {}), ("value",))
    for one in content.get("rounds", []):
        _check_metrics(one["metrics"], ("value", "low", "high", "n"))
    if "costs" in content:
        check_kinds(content["costs"], {}, required=_OF_COSTS, where="its 'costs'")


def _check_metrics(content: dict[str, Any], required: Iterable[str]) -> None:
    for name, metric in content.items():
        check_kinds(metric, {}, required=required, where=f"metric '{name}'")
