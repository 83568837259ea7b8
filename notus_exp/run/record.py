"""run.json: what a run was, what it reused and made, what it cost and what came out."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import OmegaConf

from notus_exp.config.judge_settings import ChatJudge
from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.format import DamagedFileError, sealed
from notus_exp.contracts.manifest import Manifest
from notus_exp.contracts.run_file import (
    FORMAT,
    AttemptRecord,
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
from notus_exp.machine.cuda import describe
from notus_exp.run.data_notes import data_notes
from notus_exp.run.endpoint_notes import endpoint_notes
from notus_exp.run.plan import STAGES, Node
from notus_exp.run.token_notes import token_notes
from notus_exp.stages.settings import to_json

RECORDED_VERSIONS = ("notus-exp", "torch", "transformers", "trl", "peft", "datasets", "polars", "hydra-core", "wandb")


RESERVE = f".{RUN_JSON}.reserve"
RESERVED_BYTES = 2**18
"""Room on the disk that a run holds while it goes on, so that it can say why it failed when the disk is full."""


def run_id(config: Config, choices: dict[str, str], nodes: list[Node]) -> str:
    """Return a readable name that ends in a hash of everything that changes the result, and of nothing else."""
    result = digest([node.key for node in nodes])[:10]
    return f"{choices['selection']}-{config.model.name}-s{config.seed}-{result}"


class RunRecord:
    """Collects what happens in a run and keeps run.json up to date with it.

    `attempts` lists how often the run was started, the last being this one: what each made and what that cost.

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
        self._path = folder / RUN_JSON
        judge = config.judge
        self._priced = isinstance(judge, ChatJudge) and None not in (judge.input_price, judge.output_price)
        self._nodes: dict[str, tuple[Node, Manifest]] = {}
        self._attempt: AttemptRecord = {
            "started": _now(),
            "finished": None,
            "status": "running",
            "error": None,
            "made": [],
            "device_seconds": 0.0,
        }
        self._content: RunFile = {
            "format": FORMAT,
            "run_id": run,
            "status": "running",
            "command": without_credentials(sys.argv[1:]),
            "choices": choices,
            "config": without_credentials(to_json(config)),
            "seed": config.seed,
            "started": self._attempt["started"],
            "finished": None,
            "error": None,
            "attempts": [*_earlier_attempts(self._path, run, say), self._attempt],
            "artifacts": [node.folder for node in nodes],
            "stages": {},
            "metrics": {},
            "unscored": {},
            "costs": {
                "device_seconds": 0.0,
                "device_seconds_if_nothing_were_reused": 0.0,
                "judge_tokens": 0,
                "judge_usd": None,
            },
            "versions": {name: _version(name) for name in RECORDED_VERSIONS},
            "hardware": {"profile": config.hardware.name, **describe()},
            "git_commit": _git_commit(),
        }
        (folder / CONFIG_YAML).write_text(OmegaConf.to_yaml(without_credentials(to_json(config))), encoding="utf-8")
        self._write()
        self._reserve = folder / RESERVE
        with suppress(OSError):  # a disk that is that full says so by itself
            _hold_room(self._reserve)

    def add(self, node: Node, manifest: Manifest, *, reused: bool) -> None:
        """Record a finished stage."""
        self._nodes[node.name] = (node, manifest)
        facts = dict(manifest.facts)
        if node.stage is Stage.reference and reused:
            # what this run did, not what the first one had to
            facts |= {"computed": 0, "tokens": 0, "found": facts["found"] + facts["computed"]}
        self._content["stages"][node.name] = {
            "key": manifest.key,
            "path": str(self._store.path(node.stage.name, node.key)),
            "reused": reused,
            "seconds": 0.0 if reused else manifest.seconds,
            "seconds_when_made": manifest.seconds,
            "inputs": manifest.inputs,
            "facts": facts,
        }
        if not reused:
            self._attempt["made"].append(node.name)
        if STAGES[node.stage].worker:
            self._attempt["device_seconds"] += 0.0 if reused else manifest.seconds
            costs = self._content["costs"]
            costs["device_seconds"] += 0.0 if reused else manifest.seconds
            costs["device_seconds_if_nothing_were_reused"] += manifest.seconds
        if node.stage is Stage.judgments:
            self._count_judging()
        if node.stage is Stage.evaluation:
            self._content["metrics"] = read_metrics(self._file(node, METRICS))
            self._content["unscored"] = without_score(
                self._evaluation, self._content["metrics"], facts.get("notes", [])
            )
        self._write()

    def finish(self, status: str, error: str | None = None) -> None:
        """Record how the run ended."""
        self._reserve.unlink(missing_ok=True)
        self._count_judging()
        now, error = _now(), without_credentials(error)
        self._content |= {"status": status, "finished": now, "error": error}
        self._attempt |= {"status": status, "finished": now, "error": error}
        self._write()

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
        return notes_of(self._content)

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

    def _write(self) -> None:
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
    notes += [str(note) for note in facts.get("evaluation", {}).get("notes", [])]
    notes += [str(note) for note in facts.get("pairs", {}).get("notes", [])]
    return [*notes, *token_notes(facts, run["config"]), *endpoint_notes(facts, run["config"])]


def _hold_room(path: Path) -> None:
    with path.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, RESERVED_BYTES)


def _earlier_attempts(path: Path, run: str, say: Callable[[str], None]) -> list[AttemptRecord]:
    """Return the attempts that an earlier run.json of the same run tells of; one that was killed is called so."""
    try:
        found = read_run_file(path)
        if found.get("run_id", run) != run:
            raise DamagedFileError(f"{path} was written by another run, {found['run_id']}")
        attempts = found.get("attempts", [])
    except FileNotFoundError:
        return []
    except DamagedFileError as error:
        say(f"{error.message}; it is set aside as {set_aside(path).name}, and what it said of earlier attempts is lost")
        return []
    return [attempt | {"status": "killed"} if attempt["status"] == "running" else attempt for attempt in attempts]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, with "-dirty" after uncommitted changes."""
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
