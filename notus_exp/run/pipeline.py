"""One run: reuse what exists, make what is missing (here or in a worker), record everything in run.json."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console

from notus_exp.config.auto_hardware import AUTO, told_auto
from notus_exp.config.data_settings import MadeFeedback
from notus_exp.config.doubts import doubts
from notus_exp.config.hardware_settings import Device, Launch
from notus_exp.config.made_settings import every_annotator, writers_of
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import column_of
from notus_exp.config.searched_metrics import searched_metrics
from notus_exp.config.sft_checks import told_of_sft
from notus_exp.config.sft_settings import SftTraining
from notus_exp.config.told_to_deepspeed import zero_config
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.rounds_of_run import parsed_node
from notus_exp.contracts.run_file import read_run_file
from notus_exp.disk import streams
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import Event, replay
from notus_exp.disk.files import (
    CURATION_HTML,
    DEEPSPEED,
    EVENTS,
    FEEDBACK_HTML,
    LEDGER,
    LIBRARIES_LOG,
    RUN_JSON,
    WORKER_LOG,
)
from notus_exp.disk.full import check_output
from notus_exp.disk.in_use import using
from notus_exp.disk.json_files import write_json
from notus_exp.disk.ledger import Ledger
from notus_exp.disk.locks import locked
from notus_exp.errors import UserError, first_line
from notus_exp.models.positions import check_positions, told_positions
from notus_exp.reporting.console import say, shorten, verbose
from notus_exp.reporting.going_on import working
from notus_exp.reporting.tables import print_table
from notus_exp.run import display
from notus_exp.run import worker as workers
from notus_exp.run.ahead import look_ahead
from notus_exp.run.asked_of_model import requirements
from notus_exp.run.execution import Job, execute
from notus_exp.run.intact import ready
from notus_exp.run.memory.memory_words import MemoryPlan
from notus_exp.run.memory.run_memory import plan_memory
from notus_exp.run.needed_here import check_needed_here
from notus_exp.run.nodes import Node
from notus_exp.run.outcome import disk_failure
from notus_exp.run.plan import make_plan
from notus_exp.run.probes import check_contents, check_training_prompts
from notus_exp.run.record import RunRecord, run_id
from notus_exp.run.retelling import config_of, is_kept, tags_of
from notus_exp.run.sources import UNRESOLVED, resolve
from notus_exp.run.surroundings import given_command
from notus_exp.run.within_memory import make_within_memory
from notus_exp.run.worker import following
from notus_exp.stages.context import Requirements
from notus_exp.stages.monitor import NO_MONITOR, Monitor, PrunedError
from notus_exp.stages.settings import to_json
from notus_exp.tracking import Ending, Membership, NoTracker, Tracker, candidate_of, of_trial, open_tracker


class Run:
    """One run of a config.

    Args:
        config: The checked config.
        choices: Option per group, as composed.
        console: Where progress is shown.
        monitor: May end the run.

    Raises:
        UserError: If something that the run reads does not exist, its output folder cannot be one, or it asks for more
            tokens than its model reads.
    """

    def __init__(
        self, config: Config, choices: dict[str, str], console: Console, monitor: Monitor = NO_MONITOR
    ) -> None:
        self.config, self.choices, self.console, self.monitor = config, choices, console, monitor
        check_output(config.output_dir, ("artifacts", "runs", "cache"))
        self.sources = resolve(config)
        self.nodes = make_plan(config, self.sources)
        self._check_lengths()
        self.by_key = {node.key: node for node in self.nodes}
        output = Path(config.output_dir).absolute()
        self.store = ArtifactStore(output / "artifacts")
        self.cache = output / "cache"
        self._check_probes()
        self.id = run_id(config, choices, self.nodes)
        self.folder = output / "runs" / self.id

    def _check_lengths(self) -> None:
        """Refuse more tokens than the model reads, as far as it is known by now how many that are."""
        model, digest, sft = self.config.model, self.sources.model_digest, self.config.sft
        stages = {node.stage for node in self.nodes}
        if not stages & {Stage.sft, Stage.reference}:
            return
        known = told_positions(model, digest if digest != UNRESOLVED else None, self.sources.files["model"])
        if isinstance(sft, SftTraining) and Stage.sft in stages:
            with told_of_sft():
                check_positions(known, Requirements(), sft.max_length)
        if Stage.reference in stages:
            check_positions(known, requirements(self.config), self.config.dpo.max_length)

    def _check_probes(self) -> None:
        """Refuse probes that were trained on what they are to score, as far as that is known by now."""
        for score in self.config.scores:
            if probes := self.sources.probes.get(column_of(score)):
                for node in self.nodes:
                    if parsed_node(node.name).name == "feedback":
                        check_training_prompts(score, probes, node.key, self.store.root)

    @property
    def _brief(self) -> bool:
        """Whether a study tells how this run ended, in a line."""
        study = self.config.study
        return (study.arm is not None or study.trial is not None) and not verbose()

    def execute(self) -> dict[str, str]:
        """Run the plan to its end and record it in run.json, whatever happens.

        Returns:
            The evaluations that were asked for and have no score, each with the reason.

        Raises:
            UserError: If a stage cannot be made; finished stages are kept.
            PrunedError: The monitor ended the run.
        """
        check_needed_here(self.config, self._missing())
        if self.config.study.arm is None:  # a study asks once for all of its runs
            for question in doubts(self.config, self.choices):
                self._say(f"question: {question}")
            if self.choices.get("hardware") == AUTO and self.config.hardware.device is not Device.cpu:
                self._say(f"[hardware] {told_auto(self.config.hardware)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / LIBRARIES_LOG
        waiting = "waiting for another process with this run"
        with streams.kept_in(log), locked(self.folder / ".lock", lambda: self.console.print(waiting)):
            self._mend_ledger()
            with working(self.console, "beginning the record"):
                record = RunRecord(self.config, self.choices, self.id, self.folder, self.store, self.nodes, self._say)
            tracker: Tracker = NoTracker()
            try:
                with working(self.console, "looking ahead"):
                    self.look_ahead()
                with working(self.console, "opening the tracker"):
                    tracker = self._open_tracker(record)
                with using(self.store.root, (name for node in self.nodes for name in node.folders)):
                    self._make_all(record, tracker, display.Display(self.console, brief=self._brief))
            except BaseException as error:
                status = {KeyboardInterrupt: "interrupted", PrunedError: "pruned"}.get(type(error), "failed")
                failure = disk_failure(error, self.config.output_dir) or error
                self._end(record, tracker, status, str(failure) or type(failure).__name__)
                if failure is not error:
                    raise failure from error
                raise
            with working(self.console, "recording the run"):
                record.finish("finished")
                tracker.finish(_ending(record))
            self._tell_notes(record)
            if not self._brief:
                self._summary(record)
            return record.unscored()

    def look_ahead(self) -> None:
        """Check what the run needs at its end and lies outside of it; see `ahead`.

        Raises:
            UserError: Naming what is missing, or the setting that mends it.
        """
        missing = self._missing()
        if any(node.stage is Stage.columns for node in missing):
            for probes in self.sources.probes.values():
                check_contents(probes, self.store.root)
        memory = self.memory(missing)
        memory.check()
        if doubt := memory.doubt():
            self._say(doubt)
        self.folder.mkdir(parents=True, exist_ok=True)  # for the ledger
        look_ahead(self.job(missing), self.nodes, lambda line: say(self.console, line))

    def _missing(self) -> list[Node]:
        return [node for node in self.nodes if self.store.find(node.wanted) is None]

    def memory(self, missing: list[Node]) -> MemoryPlan:
        """Return what nodes that are to be made need of memory."""
        return plan_memory(self.config, self.sources.model_digest, self.sources.files, missing, self.store)

    def _say(self, line: str) -> None:
        say(self.console, line)

    def _mend_ledger(self) -> None:
        """Mend what was written down of the judges' costs, and add what an earlier attempt's record knows beyond it."""
        ledger = Ledger(self.folder / LEDGER)
        told = [ledger.mend()]
        with suppress(FileNotFoundError, DamagedFileError):
            before = read_run_file(self.folder / RUN_JSON)
            costs = before.get("costs")
            if costs and before.get("run_id", self.id) == self.id:
                told.append(ledger.catch_up(costs.get("judge_usd") or 0.0, costs.get("judge_tokens") or 0))
        for line in filter(None, told):
            self._say(line)

    def _end(self, record: RunRecord, tracker: Tracker, status: str, reason: str) -> None:
        """Write down that the run did not finish; where that fails too, say so, and let the first failure be told."""
        try:
            record.finish(status, reason)
            tracker.finish(_ending(record))
        except Exception as error:
            self._say(f"how the run ended cannot be recorded: {first_line(error)}")

    def _open_tracker(self, record: RunRecord) -> Tracker:
        """Open the tracker: of a run of a study in the study's folder, where what is told anew finds what was told."""
        run, member = record.content(), member_of(self.config)
        folder = self.folder.parent.parent / "studies" / member.study if member else self.folder
        tracking = self.config.tracking
        return open_tracker(tracking, self.id, tags_of(run), config_of(run), folder, self.console.print, member)

    def _make_all(self, record: RunRecord, tracker: Tracker, screen: display.Display) -> None:
        events = self.folder / EVENTS
        events.write_text("", encoding="utf-8")
        # The screen ends last: the last events come when the following ends, and the bars show them.
        with screen, following(events, [screen.show, _without_marks(tracker), self.monitor.take]):
            for in_worker, group in itertools.groupby(self.nodes, lambda node: node.in_worker):
                make = self._make_in_worker if in_worker else self._make_here
                waiting = list(group)
                while waiting:
                    screen.await_start("checking what is there")
                    found = ready(waiting, self.store, self.by_key, self._say)
                    for node in waiting:
                        if manifest := found.usable.get(node.name):
                            kept = self.store.path(node.stage.name, node.key) / EVENTS
                            if damaged := replay(kept, events, node.name):
                                self._say(f"{kept}: {damaged} events are damaged and left out: curves have gaps there")
                            screen.reused(node.name, manifest.seconds)
                            record.add(node, manifest, reused=True)
                    if any(node.stage is Stage.likelihoods for node in found.missing):
                        self._check_probes()  # the feedback is there now
                    if found.missing:
                        screen.await_start("starting the worker" if in_worker else "starting")
                        make(self.job(found.missing), record)
                    waiting = found.undecided

    def job(self, nodes: list[Node]) -> Job:
        """Return a job that makes some of the run's nodes."""
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
            requirements(config),
            given_command(),
            every_annotator(config.data, config.annotators),
            writers=[*writers_of(config.data).values()],
            budget=config.data.budget if isinstance(config.data, MadeFeedback) else None,
        )

    def _make_here(self, job: Job, record: RunRecord) -> None:
        for node in job.nodes:
            manifest, made = execute(node, job)
            record.add(node, manifest, reused=not made)

    def _make_in_worker(self, job: Job, record: RunRecord) -> None:
        """Run a worker for these nodes; record those that it finished even if it fails later."""
        hardware = self.config.hardware
        if hardware.launch is Launch.deepspeed:
            write_json(self.folder / DEEPSPEED, zero_config(self.config.dpo, hardware))
        try:
            make_within_memory(job, self.folder, self._say, self.monitor)
        finally:
            made = workers.made(self.folder)
            for node in job.nodes:
                manifest = self.store.find(node.wanted)
                if manifest:
                    record.add(node, manifest, reused=not made.get(node.name, True))

    def _summary(self, record: RunRecord) -> None:
        rows = []
        for name, stage in record.stages().items():
            made = name in record.made()
            seconds = stage["seconds"] if made else 0.0  # of this attempt
            rows.append(display.StageRow(name, "made" if made else "reused", seconds, shorten(Path(stage["path"]))))
        print_table(display.stages_table(rows), self.console)
        if record.metrics():
            print_table(display.metrics_table(record.metrics(), every=verbose()), self.console)
        self._show_places(record)

    def _tell_notes(self, record: RunRecord) -> None:
        """Tell what a reader of the metrics must know; a study tells what its arms' runs noted once for all of them."""
        study = self.config.study
        if study.arm is not None and not verbose():
            return
        told_last = () if study.arm else record.unscored().values()  # by the error of a run of its own
        for note in record.notes():
            if note not in told_last:
                self._say(f"note: {note}")

    def _show_places(self, record: RunRecord) -> None:
        """Say where there is more to look at: what curation did, the report on the feedback, and W&B's folder."""
        for stage in record.stages().values():
            page = Path(stage["path"]) / CURATION_HTML
            if page.is_file():
                self._say(f"curation: {shorten(page)}")
        self._report_feedback(record)
        for name in (LIBRARIES_LOG, WORKER_LOG) if verbose() else ():
            log = self.folder / name
            if log.is_file() and log.stat().st_size:
                self._say(f"what libraries said: {shorten(log)}")
        folders = sorted((self.folder / "wandb").glob("*run-*"), key=lambda path: path.stat().st_mtime)
        for folder in folders[-1:]:
            sent = f" (to send it: wandb sync {shorten(folder)})" if folder.name.startswith("offline-") else ""
            self._say(f"W&B: {shorten(folder)}{sent}")

    def _report_feedback(self, record: RunRecord) -> None:
        """Say where the report on the feedback is, after writing it where something that it tells of was made."""
        from notus_exp.feedback_report import of_run  # not above: it draws

        if of_run.FEEDBACK not in record.stages():
            return
        page = self.folder / FEEDBACK_HTML
        try:
            if not page.is_file() or any(map(of_run.shown, record.made())):
                with working(self.console, "reporting on the feedback"):
                    of_run.write_report(self.folder, record.content())
        except (UserError, OSError) as error:  # all that was to be made is made
            self._say(f"{shorten(page)} is not written: {first_line(error)}")
            return
        self._say(f"feedback: {shorten(page)}")


def member_of(config: Config) -> Membership | None:
    """Return a run's place in the study that started it, None for a run of its own."""
    study = config.study
    if study.name is None:
        return None
    if study.trial is not None:
        metrics = searched_metrics(study.search.objectives, study.search.constraints, study.metric)
        return of_trial(study.name, study.trial, config.seed, metrics)
    if study.arm is None:
        return None
    tuned = {key: OmegaConf.select(OmegaConf.create(to_json(config)), key) for key in study.tune}
    candidate = candidate_of(tuned) if config.seed in study.tuning.seeds else ""
    return Membership(study.name, study.arm, config.seed, candidate=candidate, metrics=(study.metric,))


def _ending(record: RunRecord) -> Ending:
    return Ending.of(record.content(), record.samples())


def _without_marks(tracker: Tracker) -> Callable[[Event], None]:
    """Return a consumer that gives a tracker only the events that are worth keeping."""

    def consume(event: Event) -> None:
        if is_kept(event):
            tracker.log(event)

    return consume
