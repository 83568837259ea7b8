"""run.json: what a run was, what it reused and made, what it cost and what came out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from notus_exp.config.judge_settings import ChatJudge
from notus_exp.config.made_settings import every_annotator, writers_of
from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.format import DamagedFileError, sealed
from notus_exp.contracts.manifest import Manifest
from notus_exp.contracts.provenance import Surroundings
from notus_exp.contracts.rounds_of_run import parsed_node
from notus_exp.contracts.run_file import (
    FORMAT,
    AttemptRecord,
    RoundRecord,
    RunEstimate,
    RunFile,
    StageRecord,
    read_metrics,
    read_run_file,
)
from notus_exp.contracts.samples_file import Sample, read_samples
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.aside import set_aside
from notus_exp.disk.credentials import without_credentials
from notus_exp.disk.database import to_stderr
from notus_exp.disk.files import CONFIG_YAML, LEDGER, METRICS, RUN_JSON, SAMPLES
from notus_exp.disk.hashing import digest
from notus_exp.disk.json_files import write_json
from notus_exp.disk.ledger import Ledger
from notus_exp.evaluation.metrics import without_score
from notus_exp.run.asking_notes import failed_notes
from notus_exp.run.data_notes import column_notes, data_notes, made_notes
from notus_exp.run.endpoint_notes import endpoint_notes
from notus_exp.run.nodes import Node
from notus_exp.run.sft_notes import sft_notes
from notus_exp.run.surroundings import given_command, surroundings
from notus_exp.run.token_notes import token_notes
from notus_exp.run.training_notes import training_notes
from notus_exp.stages.settings import to_json

RESERVE = f".{RUN_JSON}.reserve"
RESERVED_BYTES = 2**18
"""Room on the disk that a run holds while it goes on, so that it can say why it failed when the disk is full."""


def run_id(config: Config, choices: dict[str, str], nodes: list[Node]) -> str:
    """Return a readable name that ends in a hash of everything that changes the result, and of nothing else."""
    result = digest([node.key for node in nodes])[:10]
    return f"{choices['selection']}-{config.model.name}-s{config.seed}-{result}"


class RunRecord:
    """Collects what happens in a run and keeps run.json up to date with it.

    `attempts` lists how often the run was started, the last being this one: with what, what each made and what that
    cost. An attempt that finds all made replaces nothing of what is said of the run: not what it was given (another
    profile, perhaps), nor when it was made, nor what it made itself and how long that took. What earlier attempts
    recorded stays until this one has the same anew, so that one which ends early takes nothing away.

    An earlier run.json that is damaged, or of another run, is set aside. Room for the last words is held until they are
    written.

    Raises:
        NewerFormatError: An earlier run.json of the same run is of a newer version; it stays as it is.
    """

    def __init__(
        self,
        config: Config,
        choices: dict[str, str],
        run: str,
        folder: Path,
        store: ArtifactStore,
        nodes: Sequence[Node] = (),
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        self._store, self._evaluation = store, config.evaluation
        self._several = config.rounds.number if config.rounds.number > 1 else 0
        self._path = folder / RUN_JSON
        annotators = every_annotator(config.data, config.annotators)
        judges = [config.judge, *(annotator.judge for annotator in annotators.values())]
        self._priced = any(isinstance(one, ChatJudge) and one.input_price is not None for one in judges)
        self._priced |= any(writer.input_price is not None for writer in writers_of(config.data).values())
        self._nodes: dict[str, tuple[Node, Manifest]] = {}
        before = _earlier(self._path, run, say)
        earlier = _earlier_attempts(before)
        self._own = _Given(choices, without_credentials(to_json(config)))
        said = _said(before) if any(attempt.get("made") for attempt in earlier) else None
        told = _told(before)
        self._attempt: AttemptRecord = {
            "started": _now(),
            "finished": None,
            "status": "running",
            "error": None,
            "made": [],
            "device_seconds": 0.0,
            **surroundings(config.hardware, given_command()),
        }
        when = _when([*earlier, self._attempt])
        self._content: RunFile = {
            "format": FORMAT,
            "run_id": run,
            "status": "running",
            "choices": (said or self._own).choices,
            "config": (said or self._own).config,
            "seed": config.seed,
            "started": when.started,
            "finished": when.finished,
            "error": None,
            "attempts": [*earlier, self._attempt],
            "artifacts": [node.folder for node in nodes],
            "stages": told.stages,
            "metrics": told.metrics,
            "unscored": told.unscored,
            "costs": {
                "device_seconds": sum(attempt.get("device_seconds", 0.0) for attempt in earlier),
                "device_seconds_if_nothing_were_reused": told.device_seconds,
                "judge_tokens": 0,
                "judge_usd": None,
            },
        }
        if told.rounds:
            self._content["rounds"] = [*told.rounds]
        self._say_config()
        self._write()
        self._reserve = folder / RESERVE
        with suppress(OSError):  # a disk that is that full says so by itself
            _hold_room(self._reserve)

    def add(self, node: Node, manifest: Manifest, *, reused: bool) -> None:
        """Record a finished stage, `reused` where this attempt found it made."""
        self._nodes[node.name] = (node, manifest)
        facts = dict(manifest.facts)
        others = reused and not _is_own(node.name, manifest, self._content["attempts"][:-1])
        if node.stage is Stage.reference and others:
            # what this run did, not what the first one had to
            facts |= {"computed": 0, "tokens": 0, "found": facts["found"] + facts["computed"]}
        before = self._content["stages"].get(node.name)
        self._content["stages"][node.name] = {
            "key": manifest.key,
            "path": str(self._store.path(node.stage.name, node.key)),
            "reused": others,
            "seconds": 0.0 if others else manifest.seconds,
            "seconds_when_made": manifest.seconds,
            "inputs": manifest.inputs,
            "facts": facts,
        }
        if not reused:
            self._attempt["made"].append(node.name)
            if len(self._attempt["made"]) == 1:
                self._content |= {"choices": self._own.choices, "config": self._own.config}
                self._say_config()
        if node.in_worker:
            self._attempt["device_seconds"] += 0.0 if reused else manifest.seconds
            costs = self._content["costs"]
            costs["device_seconds"] += 0.0 if reused else manifest.seconds
            costs["device_seconds_if_nothing_were_reused"] += manifest.seconds
            costs["device_seconds_if_nothing_were_reused"] -= before["seconds_when_made"] if before else 0.0
        if node.stage in (Stage.judgments, Stage.annotations, Stage.responses):
            self._count_judging()
        if node.stage is Stage.evaluation and self._several:
            self._keep_round(parsed_node(node.name).number or self._several, read_metrics(self._file(node, METRICS)))
        if node.name == Stage.evaluation.name:
            self._content["metrics"] = read_metrics(self._file(node, METRICS))
            self._content["unscored"] = without_score(
                self._evaluation, self._content["metrics"], facts.get("notes", [])
            )
        self._write()

    def _keep_round(self, number: int, metrics: dict[str, RunEstimate]) -> None:
        """Keep what a round was measured by, of several."""
        others = [one for one in self._content.get("rounds", []) if one["round"] != number]
        own: RoundRecord = {"round": number, "metrics": metrics}
        self._content["rounds"] = sorted([*others, own], key=lambda one: one["round"])

    def finish(self, status: str, error: str | None = None) -> None:
        """Record how the run ended."""
        self._reserve.unlink(missing_ok=True)
        self._count_judging()
        now, error = _now(), without_credentials(error)
        self._content |= {"status": status, "error": error}
        self._attempt |= {"status": status, "finished": now, "error": error}
        self._write()

    def made(self) -> list[str]:
        """Return the names of the nodes that this attempt made."""
        return self._attempt["made"]

    def stages(self) -> dict[str, StageRecord]:
        """Return the recorded stages by node name."""
        return self._content["stages"]

    def metrics(self) -> dict[str, RunEstimate]:
        """Return the metrics, empty before the evaluation."""
        return self._content["metrics"]

    def unscored(self) -> dict[str, str]:
        """Return the evaluations that were asked for and have no score, each with the reason."""
        return self._content["unscored"]

    def notes(self) -> list[str]:
        """Return what a reader of the metrics must know."""
        return notes_of({**self._content, "config": self._own.config})  # an earlier one may lack a setting of today

    def samples(self) -> list[Sample]:
        """Return sample answers of base and policy, empty where nothing was generated."""
        node = self._nodes.get("evaluation")
        return read_samples(self._file(node[0], SAMPLES)) if node else []

    def content(self) -> RunFile:
        """Return what run.json says so far."""
        return self._content

    def _count_judging(self) -> None:
        """Take over what judges cost in all attempts of this run; USD are null where no prices are known."""
        ledger = Ledger(self._path.with_name(LEDGER))
        self._content["costs"] |= {"judge_tokens": ledger.tokens, "judge_usd": ledger.usd if self._priced else None}

    def _say_config(self) -> None:
        self._path.with_name(CONFIG_YAML).write_text(OmegaConf.to_yaml(self._content["config"]), encoding="utf-8")

    def _write(self) -> None:
        self._content["started"], self._content["finished"] = _when(self._content["attempts"])
        write_json(self._path, sealed(self._content))

    def _file(self, node: Node, name: str) -> Path:
        return self._store.path(node.stage.name, node.key) / name


def notes_of(run: RunFile) -> list[str]:
    """Return what a reader of a run's metrics must know: of the data, of texts cut or left out, of refused scores.

    Args:
        run: Content of run.json, with a config.
    """
    facts = {name: stage["facts"] for name, stage in run.get("stages", {}).items()}
    notes = data_notes(facts.get("feedback", {}), facts.get("pairs", {}))
    notes += data_notes(facts["instructions"], {}) if "instructions" in facts else []
    notes += made_notes(facts.get("answers", {}), facts.get("feedback", {}))
    notes += column_notes(facts.get("columns", {}))
    notes += failed_notes(facts)
    notes += [str(note) for note in facts.get("evaluation", {}).get("notes", [])]
    notes += [str(note) for note in facts.get("pairs", {}).get("notes", [])]
    config = run["config"]
    return [
        *notes,
        *sft_notes(facts, config),
        *training_notes(facts, config),
        *token_notes(facts, config),
        *endpoint_notes(facts, config),
    ]


class _Given(NamedTuple):
    """What an attempt was given."""

    choices: dict[str, str]
    config: dict[str, Any]


def _said(before: RunFile | None) -> _Given | None:
    """Return what an earlier record says that the run was given, None where it does not say all of it."""
    if before is None or not {"choices", "config"} <= before.keys():
        return None
    return _Given(before["choices"], before["config"])


class _Told(NamedTuple):
    """What earlier attempts found out of a run, as run.json has it; `device_seconds` had nothing been reused."""

    stages: dict[str, StageRecord]
    metrics: dict[str, RunEstimate]
    unscored: dict[str, str]
    device_seconds: float
    rounds: Sequence[RoundRecord] = ()


def _told(before: RunFile | None) -> _Told:
    """Return what an earlier record says that attempts found out; nothing where its stages do not say all of it."""
    if before is None or "costs" not in before:
        return _Told({}, {}, {}, 0.0)
    stages = before.get("stages", {})
    if not all(stage.keys() >= StageRecord.__required_keys__ for stage in stages.values()):
        return _Told({}, {}, {}, 0.0)
    whole = before["costs"]["device_seconds_if_nothing_were_reused"]
    return _Told(stages, before.get("metrics", {}), before.get("unscored", {}), whole, before.get("rounds", []))


def _is_own(node: str, manifest: Manifest, attempts: Sequence[AttemptRecord]) -> bool:
    """Say whether one of these attempts made an artifact that lies there, and not another run since.

    Of a manifest from before it said when it was made, what the attempts say counts alone.
    """
    making = [attempt for attempt in attempts if node in attempt.get("made", [])]
    if not manifest.provenance:
        return bool(making)
    when = manifest.provenance[-1]["started"]
    return any(one.get("started", when) <= when <= (one.get("finished") or when) for one in making)


class _When(NamedTuple):
    """When a run was made, as run.json has it."""

    started: str
    finished: str | None


def _when(attempts: Sequence[AttemptRecord]) -> _When:
    """Return when a run was made: from the first attempt that made anything to the end of the last one that did.

    Where none made anything it is when the first one that came to its end found all of it, or of the last attempt.
    """
    making = [place for place, one in enumerate(attempts) if one.get("made")]
    found = [place for place, one in enumerate(attempts) if one["status"] == "finished"]
    places = making or found[:1] or [len(attempts) - 1]
    # one that was killed has no end: then the next one found what it had made
    ends = (one["finished"] for one in attempts[places[-1] :] if one.get("finished"))
    return _When(attempts[places[0]].get("started", ""), next(ends, None))


def _hold_room(path: Path) -> None:
    with path.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, RESERVED_BYTES)


def _earlier(path: Path, run: str, say: Callable[[str], None]) -> RunFile | None:
    """Return an earlier run.json of the same run; one that is damaged, or of another run, is set aside."""
    try:
        found = read_run_file(path)
        if found.get("run_id", run) != run:
            raise DamagedFileError(f"{path} was written by another run, {found['run_id']}")
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        say(f"{error.message}; it is set aside as {set_aside(path).name}, and what it said of earlier attempts is lost")
        return None
    return found


def _earlier_attempts(before: RunFile | None) -> list[AttemptRecord]:
    """Return the attempts that an earlier run.json tells of; one that was killed is called so.

    What it says itself of command, machine and libraries, as files did before attempts had that, is of its last one.
    """
    if before is None:
        return []
    attempts = [
        attempt | {"status": "killed"} if attempt["status"] == "running" else attempt
        for attempt in before.get("attempts", [])
    ]
    if attempts:
        told = {key: value for key, value in before.items() if key in Surroundings.__annotations__}
        attempts[-1] = cast(AttemptRecord, told | attempts[-1])
    return attempts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
