"""What the runs of a study share is made first: every arm is curated, then all reference log-probs that they need.

Where arms train their base models first (`sft`), each of these is made here too, once.

Where an arm's expressions name columns that a model gives, these are made before its curation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from rich.console import Console

from notus_exp.config.data_settings import MadeFeedback
from notus_exp.config.hardware_settings import Device
from notus_exp.config.schema import Stage
from notus_exp.disk.files import EVENTS
from notus_exp.disk.hashing import digest
from notus_exp.disk.locks import locked
from notus_exp.errors import UserError, named_line
from notus_exp.machine.cuda import cuda_devices
from notus_exp.reporting.console import say, verbose
from notus_exp.run import display
from notus_exp.run import worker as workers
from notus_exp.run.asked_of_model import requirements
from notus_exp.run.execution import Job, execute
from notus_exp.run.intact import ready
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run
from notus_exp.run.within_memory import make_within_memory
from notus_exp.stages.settings import to_json

DATA = (Stage.responses, Stage.feedback)
CURATED = (*DATA, Stage.columns, Stage.pairs)
SCORED = (Stage.base_model, Stage.sft, Stage.reference)
TRIES = 3
"""How often what runs share is begun where workers are killed."""


def prepare(runs: Sequence[Run], folder: Path, console: Console, curated: Callable[[], None] = lambda: None) -> None:
    """Make what the runs share, each artifact once: feedback and pairs here, then base models and references.

    All references of a kind go to one worker, which computes the union of the log-probs that they miss. What fails here
    is said and left to the runs that need it: they fail with the same reason, in their own record. Of several processes
    that work on a study one prepares, and the others wait for it.

    Args:
        runs: The runs that are to be started.
        folder: The study's, for events, job and log.
        console: Where progress is shown.
        curated: Called when all arms are curated; what it raises ends the study.
    """
    with locked(folder / ".lock", lambda: console.print("waiting for another process that prepares this study")):
        events = folder / EVENTS
        events.write_text("", encoding="utf-8")
        screen = display.Display(console, brief=not verbose())
        with screen, workers.following(events, [screen.show]):
            screen.await_start("checking what is there")
            _curate(runs, folder, console, DATA)
            for _ in range(max(map(_worker_turns, runs), default=0)):
                screen.await_start("starting the worker")
                _score(runs, folder, console, before_pairs)
                screen.await_start("checking what is there")
                _curate(runs, folder, console, DATA)
            _curate(runs, folder, console, CURATED)
            curated()
            screen.await_start("starting the worker")
            _score(runs, folder, console, lambda run: run.nodes)


def before_pairs(run: Run) -> list[Node]:
    """Return what a run makes before its pairs, and these: of several rounds those of the first."""
    trained = next((place for place, node in enumerate(run.nodes) if node.stage is Stage.policy), len(run.nodes))
    last = max((place for place, node in enumerate(run.nodes[:trained]) if node.stage in CURATED), default=-1)
    return run.nodes[: last + 1]


def _worker_turns(run: Run) -> int:
    """Return how often a worker is needed before a run's pairs, with something made here in between."""
    return sum(in_worker for in_worker, _ in groupby(before_pairs(run), lambda node: node.in_worker))


def _curate(runs: Sequence[Run], folder: Path, console: Console, stages: Sequence[Stage]) -> None:
    """Make what is made here of some stages up to the pairs, as far as its inputs are there."""
    known = _by_key(runs)

    def here(run: Run) -> list[Node]:
        return [node for node in before_pairs(run) if not node.in_worker and node.stage in stages]

    for run, nodes in _missing(runs, here, console):
        for node in nodes:
            if _inputs_exist(run, node, [], known):
                _attempt(lambda job: execute(job.nodes[0], job), _job(run, [node], folder), console)


def _score(runs: Sequence[Run], folder: Path, console: Console, among: Callable[[Run], list[Node]]) -> None:
    known = _by_key(runs)

    def wanted(run: Run) -> list[Node]:
        early = {node.key for node in before_pairs(run)}
        return [node for node in among(run) if node.in_worker and (node.stage in SCORED or node.key in early)]

    for run, nodes in _missing(runs, wanted, console):
        if run.config.hardware.device is Device.cuda and not cuda_devices():
            console.print("no CUDA device here: each run computes the reference log-probs that it misses")
            continue
        nodes = [node for node in nodes if _inputs_exist(run, node, nodes, known)]
        if nodes:
            make = partial(make_within_memory, folder=folder, say=partial(say, console))
            _attempt(partial(_again_if_killed, make, console), _job(run, nodes, folder), console)


def _missing(runs: Sequence[Run], among: Callable[[Run], list[Node]], console: Console) -> list[tuple[Run, list[Node]]]:
    """Return the distinct of these nodes that have no usable artifact, in groups that one job can make."""
    seen: set[str] = set()
    groups: dict[str, tuple[Run, list[Node]]] = {}
    for run in runs:
        means = digest(
            [
                *(to_json(run.config.hardware), run.sources.files, to_json(requirements(run.config))),
                to_json(run.config.annotators),
                to_json(run.config.data) if isinstance(run.config.data, MadeFeedback) else None,
            ]
        )
        nodes = [node for node in among(run) if node.key not in seen]
        seen |= {node.key for node in nodes}
        for node in ready(nodes, run.store, run.by_key, lambda line: say(console, line)).missing:
            group = groups.setdefault(means, (run, []))
            group[1].append(replace(node, name=f"{node.name} {node.key[:6]}"))
    return list(groups.values())


def _by_key(runs: Sequence[Run]) -> dict[str, Node]:
    return {key: node for run in runs for key, node in run.by_key.items()}


def _inputs_exist(run: Run, node: Node, beside: Sequence[Node], known: Mapping[str, Node]) -> bool:
    """Say whether a node's inputs are there, or are made beside it; what another run made was looked at already."""
    made = {one.key for one in beside}
    return all(key in made or key not in known or run.store.find(known[key].wanted) for key in node.inputs.values())


def _job(run: Run, nodes: list[Node], folder: Path) -> Job:
    return replace(run.job(nodes), events=folder / EVENTS)


def _again_if_killed(make: Callable[[Job], object], console: Console, job: Job) -> None:
    """Make what runs share, anew where a worker is killed: run by run batches, and so last bits, would be others."""
    for left in reversed(range(TRIES)):
        try:
            make(job)
            return
        except workers.KilledError as error:
            if not left:
                raise
            say(console, f"{error.message}: begun again, from what was stored")


def _attempt(make: Callable[[Job], object], job: Job, console: Console) -> None:
    try:
        make(job)
    except Exception as error:  # an unexpected one is met again, with its traceback, by the run that needs this
        what = str(error) if isinstance(error, UserError) else named_line(error)
        console.print(f"{what}\n  the runs that need this make it themselves, or fail; the others go on")
