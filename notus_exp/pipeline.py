"""One run: reuse what exists, make what is missing (here or in a worker), record everything in run.json."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from notus_exp import display
from notus_exp.artifacts import ArtifactStore, locked
from notus_exp.errors import UserError
from notus_exp.events import PROGRESS, Event, parse, replay
from notus_exp.execution import MARKS, Job, execute
from notus_exp.files import EVENTS, JOB, LEDGER, WORKER_ERROR, WORKER_LOG, WORKER_RESULT
from notus_exp.hardware import launch_command
from notus_exp.plan import STAGES, Node, make_plan
from notus_exp.record import RunRecord, run_id
from notus_exp.schema import Config, Launch, Stage
from notus_exp.sources import UNRESOLVED, resolve
from notus_exp.tracking import NoTracker, Tracker, open_tracker

POLL_SECONDS = 0.5
"""How often a waiting parent looks whether it was interrupted."""
TERMINATE_SECONDS = 20.0
"""How long an interrupted worker may take to stop before it is killed."""


class Run:
    """One run of a config.

    Args:
        config: The checked config.
        choices: Option per group, as composed.
        console: Where progress is shown.

    Raises:
        UserError: If something that the run reads does not exist.
    """

    def __init__(self, config: Config, choices: dict[str, str], console: Console) -> None:
        self.config, self.choices, self.console = config, choices, console
        self.sources = resolve(config)
        self.nodes = make_plan(config, self.sources)
        output = Path(config.output_dir).absolute()
        self.store = ArtifactStore(output / "artifacts")
        self.cache = output / "cache"
        self.id = run_id(config, choices, self.nodes)
        self.folder = output / "runs" / self.id

    def show_plan(self, out: Console) -> None:
        """Print which stages would be reused and which run, and how; make nothing."""
        rows = []
        for node in self.nodes:
            manifest = self.store.find(node.stage.name, node.key)
            started = STAGES[node.stage].resumable and self.store.partial(node.stage.name, node.key).exists()
            state = "reuse" if manifest else "continue" if started else "run"
            path = display.shorten(self.store.path(node.stage.name, node.key))
            rows.append(display.StageRow(node.name, state, manifest.seconds if manifest else None, path))
        out.print(display.stages_table(rows))
        hardware, dpo = self.config.hardware, self.config.dpo
        micro = min(hardware.micro_batch_size, dpo.global_batch_size)
        accumulation = dpo.global_batch_size // (micro * hardware.processes)
        out.print(
            f"hardware {hardware.name}: {hardware.processes} x {hardware.device.name}, {dpo.precision.name}; "
            f"global batch {dpo.global_batch_size} = {micro} pairs x {accumulation} accumulation x "
            f"{hardware.processes} processes",
            highlight=False,
            soft_wrap=True,
        )
        if hardware.launch is not Launch.plain:
            command = launch_command(hardware, dpo.precision, str(self.folder / JOB))
            out.print("launch: " + " ".join(command), soft_wrap=True, highlight=False)
        sources = self.sources
        if UNRESOLVED in (sources.data_digest, sources.model_digest, *sources.evaluation_digests.values()):
            out.print("a hub could not be reached: the keys, and what is reused, are settled when it answers")

    def execute(self) -> None:
        """Run the plan to its end and record it in run.json, whatever happens.

        Raises:
            UserError: If a stage cannot be made; finished stages are kept.
        """
        hardware = self.config.hardware
        if hardware.launch is not Launch.plain and any(STAGES[node.stage].worker for node in self.nodes):
            raise UserError(
                f"hardware={hardware.name} can be planned (until=config) but is not executed yet",
                "use hardware=gpu, or stop with until=pairs",
            )
        self._require_key()
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock", lambda: self.console.print("waiting for another process with this run")):
            record = RunRecord(self.config, self.choices, self.id, self.folder, self.store)
            tracker: Tracker = NoTracker()
            try:
                tracker = self._open_tracker(record)
                self._make_all(record, tracker, display.Display(self.console))
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                record.finish("interrupted" if interrupted else "failed", str(error) or type(error).__name__)
                tracker.finish({}, [], failed=True)
                raise
            record.finish("finished")
            tracker.finish(record.metrics(), record.samples(), failed=False)
            self._summary(record)

    def _require_key(self) -> None:
        """Check before anything runs that a hosted judge can be asked, where verdicts are missing."""
        judge = self.config.judge
        missing = any(
            node.stage is Stage.judgments and self.store.find(node.stage.name, node.key) is None for node in self.nodes
        )
        hosted = judge.name == "openai" and judge.base_url is None and not judge.offline
        if missing and hosted and not os.environ.get(judge.api_key_env):
            raise UserError(
                f"judge=openai needs a key, and the environment variable {judge.api_key_env} is not set",
                "set it, name another with judge.api_key_env, or give an endpoint of your own with judge.base_url",
            )

    def _open_tracker(self, record: RunRecord) -> Tracker:
        tracking, config = self.config.tracking, record.tracked_config()
        return open_tracker(tracking, self.id, record.tags(), config, self.folder, self.console.print)

    def _make_all(self, record: RunRecord, tracker: Tracker, screen: display.Display) -> None:
        events = self.folder / EVENTS
        events.write_text("", encoding="utf-8")
        with following(events, [screen.show, _without_marks(tracker)]), screen:
            for in_worker, group in itertools.groupby(self.nodes, lambda node: STAGES[node.stage].worker):
                missing = []
                for node in group:
                    manifest = self.store.find(node.stage.name, node.key)
                    if manifest is None:
                        missing.append(node)
                        continue
                    replay(self.store.path(node.stage.name, node.key) / EVENTS, events)
                    screen.reused(node.name, manifest.seconds)
                    record.add(node, manifest, reused=True)
                make = self._make_in_worker if in_worker else self._make_here
                if missing:
                    make(self._job(missing), record)

    def _job(self, nodes: list[Node]) -> Job:
        events = self.folder / EVENTS
        config, store = self.config, self.store.root
        return Job(
            nodes,
            store,
            self.cache,
            events,
            config.hardware,
            self.sources.files,
            config.generation,
            config.judge,
            self.folder / LEDGER,
        )

    def _make_here(self, job: Job, record: RunRecord) -> None:
        for node in job.nodes:
            manifest, made = execute(node, job)
            record.add(node, manifest, reused=not made)

    def _make_in_worker(self, job: Job, record: RunRecord) -> None:
        """Run a worker for these nodes; record those that it finished even if it fails later."""
        for name in (WORKER_ERROR, WORKER_RESULT):
            (self.folder / name).unlink(missing_ok=True)
        job.write(self.folder / JOB)
        command = launch_command(self.config.hardware, self.config.dpo.precision, str(self.folder / JOB))
        try:
            code = run_worker(command, self.folder / WORKER_LOG)
        finally:
            result = self.folder / WORKER_RESULT
            made = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
            for node in job.nodes:
                manifest = self.store.find(node.stage.name, node.key)
                if manifest:
                    record.add(node, manifest, reused=not made.get(node.name, True))
        if code != 0:
            raise self._worker_failure(code, job, record)

    def _worker_failure(self, code: int, job: Job, record: RunRecord) -> UserError:
        unfinished = [node.name for node in job.nodes if node.name not in record.stages()]
        where = f"stage {unfinished[0]} failed" if unfinished else "the worker failed"
        log = display.shorten(self.folder / WORKER_LOG)
        path = self.folder / WORKER_ERROR
        if not path.exists():
            reason = f"the worker was killed by signal {-code}" if code < 0 else f"the worker ended with code {code}"
            return UserError(f"{where}: {reason}", f"out of memory? lower the batch sizes in hardware; log: {log}")
        error = json.loads(path.read_text(encoding="utf-8"))
        if code == 2:
            return UserError(f"{error['message']}", error["hint"])
        return UserError(f"{where}: {error['message']}", f"the traceback is in {log}; finished stages are kept")

    def _summary(self, record: RunRecord) -> None:
        rows = []
        for name, stage in record.stages().items():
            state = "reused" if stage["reused"] else "made"
            rows.append(display.StageRow(name, state, stage["seconds"], display.shorten(Path(stage["path"]))))
        self.console.print(display.stages_table(rows))
        for note in record.notes():
            self.console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
        if record.metrics():
            self.console.print(display.metrics_table(record.metrics()))


def run_worker(command: list[str], log: Path) -> int:
    """Run a worker to its end and return its exit code; on Ctrl-C stop it first.

    It is given a pipe as standard input: when this process dies in any way, the pipe ends and so does the worker. Its
    session is its own, so that Ctrl-C reaches only the parent, which then stops it in order.
    """
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with log.open("ab") as output:
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, env=environment
        )
        try:
            # Not a plain wait(): polars installs a handler that restarts it, and Ctrl-C would wait for the worker.
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return worker.wait(POLL_SECONDS)
        except BaseException:
            worker.terminate()
            try:
                worker.wait(TERMINATE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            raise


@contextmanager
def following(path: Path, consumers: list[Callable[[Event], None]]) -> Iterator[None]:
    """Hand each event that is appended to a file to the consumers, from a thread, until the block ends."""
    stop = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as stream:
            line = ""
            while True:
                stopping = stop.is_set()  # read once more after the last event was written
                for part in iter(stream.readline, ""):
                    line += part
                    if not line.endswith("\n"):
                        continue
                    event = parse(line)
                    line = ""
                    for consume in consumers:
                        consume(event)
                if stopping:
                    return
                time.sleep(0.1)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _without_marks(tracker: Tracker) -> Callable[[Event], None]:
    """Return a consumer that gives a tracker only the events that are worth keeping."""

    def consume(event: Event) -> None:
        if PROGRESS not in event.metrics and not MARKS & event.metrics.keys():
            tracker.log(event)

    return consume
