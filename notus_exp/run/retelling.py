"""What a tracker is told of a run, while it goes on and afterwards from its record alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from notus_exp.config.replaced_choices import WITH
from notus_exp.config.schema import Stage, Tracking, reaches
from notus_exp.contracts.run_file import RunFile, StageRecord
from notus_exp.contracts.samples_file import Sample, read_samples
from notus_exp.disk.events import PROGRESS, Event, read
from notus_exp.disk.files import EVENTS, SAMPLES
from notus_exp.disk.outputs import artifact, outputs
from notus_exp.evaluation.catalogue import CATALOGUE
from notus_exp.run.execution import MARKS
from notus_exp.tracking import Ending, Membership, open_tracker

EVALUATION = Stage.evaluation.name


def is_kept(event: Event) -> bool:
    """Say whether an event is worth keeping: not a sentence, nor progress, nor a mark of where a stage is."""
    return not event.said and PROGRESS not in event.metrics and not MARKS & event.metrics.keys()


def tags_of(run: RunFile) -> list[str]:
    """Return a tag for each option that a run chose and used: no judge where nothing is judged, for example."""
    unused = _unused(run)
    choices = sorted((group, choice) for group, choice in run.get("choices", {}).items() if group not in unused)
    options = ((group, [choice] if WITH in choice else choice.split(",")) for group, choice in choices if choice)
    return [f"{group}={option}" for group, chosen in options for option in chosen]


def _unused(run: RunFile) -> set[str]:
    """Return the groups whose choice moves nothing in this run, and the tracker's."""
    until = Stage[run.get("config", {}).get("until", EVALUATION)]
    chosen = [CATALOGUE[name] for name in run.get("choices", {}).get("evaluation", "").split(",") if name in CATALOGUE]
    used = {
        "generation": reaches(until, Stage.generations) and any(spec.answers for spec in chosen),
        "sft": reaches(until, Stage.sft) and run.get("choices", {}).get("sft") != "none",
        "judge": reaches(until, Stage.judgments) and any(spec.judged for spec in chosen),
    }
    return {"tracking", *(group for group, is_used in used.items() if not is_used)}


def config_of(run: RunFile) -> dict[str, Any]:
    """Return the nested config with the choices, for the tracker."""
    return {**run.get("config", {}), "choices": run.get("choices", {}), "run_id": run.get("run_id")}


def retell(
    tracking: Tracking, member: Membership, run: RunFile, folder: Path, warn: Callable[[str], None], ending: Ending
) -> None:
    """Tell a tracker of a run of a study from its record: config, curves, samples, end.

    Args:
        tracking: Where it goes.
        member: The run's place in the study.
        run: Its run.json, or what stands for it.
        folder: The study's.
        warn: Told what W&B does not take.
        ending: How it ended, as the study counts it.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    tracker = open_tracker(tracking, str(run.get("run_id", "")), tags_of(run), config_of(run), folder, warn, member)
    for event in events_of(run, folder):
        if is_kept(event):
            tracker.log(event)
    tracker.finish(ending._replace(samples=_samples(run, folder), stages=_here(ending, folder)))


def events_of(run: RunFile, folder: Path) -> Iterator[Event]:
    """Yield what a run's stages reported: as its last attempt followed them, else as its artifacts keep it."""
    followed = outputs(folder) / "runs" / str(run.get("run_id")) / EVENTS
    if followed.is_file():
        yield from read(followed)
        return
    for node in run.get("stages", {}):
        kept = artifact(folder, run, node) / EVENTS
        if kept.is_file():
            yield from (event._replace(stage=node) for event in read(kept))


def _samples(run: RunFile, folder: Path) -> list[Sample]:
    """Return sample answers; none where nothing was generated, or their artifact was pruned."""
    if EVALUATION not in run.get("stages", {}):
        return []
    path = artifact(folder, run, EVALUATION) / SAMPLES
    return read_samples(path) if path.is_file() else []


def _here(ending: Ending, folder: Path) -> dict[str, StageRecord]:
    """Return a run's stages with their artifacts where they lie now, wherever the outputs were moved to."""
    root = outputs(folder) / "artifacts"
    return {name: {**stage, "path": str(root / Path(stage["path"]).name)} for name, stage in ending.stages.items()}
