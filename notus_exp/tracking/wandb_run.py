"""One run of the pipeline as a Weights & Biases run."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from notus_exp.config.schema import Tracking
from notus_exp.disk.events import Event
from notus_exp.reporting.texts import cut
from notus_exp.tracking import told
from notus_exp.tracking.names import (
    DETAIL,
    alias_of,
    history_of,
    leading,
    member_id,
    owner_of,
    place_id,
    summary_of,
)
from notus_exp.tracking.opening import DISABLED, NAME_LENGTH, Label, conclude, open_run, wandb_mode
from notus_exp.tracking.products import log_products
from notus_exp.tracking.repeated import RepeatedRun
from notus_exp.tracking.tracker import FINISHED, Ending, Membership, NoTracker, Tracker
from notus_exp.tracking.wandb_tables import table

ROUNDS = "rounds"
"""Begins the names of metrics over the rounds of a run."""
ROUND = f"{ROUNDS}/round"
JOB_TYPE, TRIAL_TYPE, TUNING_TYPE = "run", "trial", "tuning"


class WandbTracker:
    """A W&B run that is being filled.

    Each stage has its own step axis, `<stage>/step`, so that a resumed or reused stage's curve is complete.

    Args:
        run: The open W&B run.
        artifacts: Which products are kept as W&B artifacts.
        owner: What these are named by.
        config: The run's, nested.
        member: Its place in a study.
        folder: Where W&B keeps it.
        warn: Told what W&B did not take.
        place: Where in W&B it is.
    """

    def __init__(
        self,
        run: Any,
        artifacts: list[str],
        owner: str,
        config: dict[str, Any],
        member: Membership | None,
        folder: Path,
        warn: Callable[[str], None],
        place: str,
    ) -> None:
        self._place = place
        self._run, self._artifacts, self._owner, self._warn = run, artifacts, owner, warn
        self._split = config.get("evaluation_split")
        self._seed = member.seed if member else int(config.get("seed", 0))
        self._member, self._folder = member, folder
        self._asked = member.metrics if member else ()
        self._stages: set[str] = set()
        self._last: dict[str, float] = {}

    def log(self, event: Event) -> None:
        """Log an event's metrics at its stage's step; the summary has their last values as details."""
        axis = f"{event.stage}/step"
        if event.stage not in self._stages:
            self._stages.add(event.stage)
            self._run.define_metric(axis, hidden=True, summary="none")
            self._run.define_metric(f"{event.stage}/*", step_metric=axis, summary="none")
        values = {f"{event.stage}/{name}": value for name, value in event.metrics.items()}
        self._last |= values
        self._run.log({axis: event.step, **values})

    def finish(self, ending: Ending) -> None:
        """Put status and metrics with their intervals into the summary, add samples and artifacts, close the run."""
        offline, run_id = bool(self._run.offline), str(self._run.id)
        whole = conclude(self._run, lambda: self._tell(ending), self._warn, failed=ending.status != FINISHED)
        if not whole:
            return
        content = told.content_of(ending, self._asked, self._artifacts, offline=offline)
        if self._member:
            told.note(self._folder, run_id, self._member, content)
        else:
            told.note_own(self._folder, self._place, told.OwnRun(run_id, ending.status, content))

    def _tell(self, ending: Ending) -> None:
        """Tell the end; the metrics of a run that did not finish are details: no comparison counts them."""
        self._run.summary["status"] = ending.status
        if ending.error:
            self._run.summary["error"] = ending.error
        finished = ending.status == FINISHED
        plain = leading(ending.metrics, self._asked) if finished else []
        if shown := history_of(ending.metrics, self._split, plain):
            self._run.log(shown)
        self._run.summary.update(summary_of(ending.metrics, self._split, plain))
        for name, value in self._last.items():
            self._run.summary[name if finished and name in self._asked else f"{DETAIL}/{name}"] = value
        self._tell_rounds(ending)
        if ending.samples:
            columns = list(ending.samples[0])
            rows = [[str(sample[column]) for column in columns] for sample in ending.samples]
            self._run.log({"samples": table(columns, rows)})
        if finished:
            alias = f"s{self._seed}" if self._member is None else alias_of(self._member)
            log_products(self._run, ending.stages, self._artifacts, self._owner, alias)

    def _tell_rounds(self, ending: Ending) -> None:
        """Tell the headline metrics of several rounds as curves over the rounds."""
        if not ending.rounds:
            return
        self._run.define_metric(ROUND, hidden=True, summary="none")
        self._run.define_metric(f"{ROUNDS}/*", step_metric=ROUND, summary="none")
        for one in ending.rounds:
            shown = history_of(one["metrics"], self._split, leading(one["metrics"], self._asked))
            self._run.log({ROUND: one["round"], **{f"{ROUNDS}/{name}": value for name, value in shown.items()}})


def tracks(tracking: Tracking) -> bool:
    """Say whether anything is tracked at all."""
    return tracking.name != "none" and wandb_mode(tracking.mode) != DISABLED


def is_online(tracking: Tracking) -> bool:
    """Say whether what is tracked goes to W&B at once."""
    return tracks(tracking) and wandb_mode(tracking.mode) == "online"


def is_told_already(tracking: Tracking, member: Membership, ending: Ending, folder: Path) -> bool:
    """Say whether the W&B run of a part of a study was told just this ending, there where it would be told now.

    Args:
        tracking: Where it would go.
        member: The run's place in its study.
        ending: How it ended, as the study counts it.
        folder: The study's.
    """
    content = told.content_of(ending, member.metrics, tracking.artifacts, offline=not is_online(tracking))
    return told.is_told(folder, member_id(tracking, member), content)


def told_before(tracking: Tracking, folder: Path) -> list[Membership]:
    """Return the parts of a study that W&B was told of, there where it would be told now.

    Args:
        tracking: Where that is.
        folder: The study's.
    """
    found = told.told_members(folder)
    return [member for run, member in found.items() if run == member_id(tracking, member)]


def open_tracker(
    tracking: Tracking,
    name: str,
    tags: list[str],
    config: dict[str, Any],
    folder: Path,
    warn: Callable[[str], None],
    member: Membership | None = None,
) -> Tracker:
    """Open the tracker that the config asks for.

    Args:
        tracking: Where metrics go.
        name: What a run that belongs to no study is called.
        tags: One per choice.
        config: The nested config; credentials in URLs are left out of what is sent.
        folder: Where an offline run is kept: the run's folder, or its study's.
        warn: Told what W&B refuses where the run can go on, and that W&B has a run of its own already.
        member: The run's place in a study: it gives the run its id, so that there is one W&B run for each arm (or
            trial) and seed, its name, two tags, a config key by which one can group, and, unless `tracking.group` says
            otherwise, its group. A run of its own has the id of its earlier attempts.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    if not tracks(tracking):
        return NoTracker()
    group, kind, own, place = tracking.group, JOB_TYPE, config, place_id(tracking)
    owner = name.rpartition("-s")[0] or name
    before = None if member else told.own_run(folder, place)
    if member:
        group = group or member.study
        name, wandb_id = arm_name(member), member_id(tracking, member)
        kind = TUNING_TYPE if member.candidate else JOB_TYPE if member.trial is None else TRIAL_TYPE
        tags = [*tags, f"study={member.study}", part_of(member)]
        owner = owner_of(member)
        own = with_place(config, member)
    else:
        wandb_id = before.id if before else secrets.token_hex(4)
    label = Label(name, group, kind, [*tags, *tracking.tags], own, wandb_id)

    def opened() -> WandbTracker:
        folder.mkdir(parents=True, exist_ok=True)
        if member:
            told.forget(folder, wandb_id)
        else:
            told.note_own(folder, place, told.OwnRun(wandb_id))
        told.supersede(folder, wandb_id)
        run = open_run(tracking, label, folder, warn)
        return WandbTracker(run, tracking.artifacts, owner, config, member, folder, warn, place)

    def told_just_this(ending: Ending) -> bool:
        content = told.content_of(ending, (), tracking.artifacts, offline=not is_online(tracking))
        return before is not None and before.content == content

    if before and before.status == FINISHED:
        return RepeatedRun(told_just_this, opened, warn)
    return opened()


def arm_name(member: Membership) -> str:
    """Return the name of an arm's run; a long arm is cut so that the seed stays."""
    seed = f"-s{member.seed}"
    return cut(f"{member.arm} {member.candidate}".rstrip(), NAME_LENGTH - len(seed)) + seed


def part_of(member: Membership) -> str:
    """Return the tag that says which part of its study a run is."""
    if member.candidate:
        return f"tunes={member.arm}"
    return f"arm={member.arm}" if member.trial is None else f"trial={member.trial}"


def with_place(config: dict[str, Any], member: Membership) -> dict[str, Any]:
    """Return a config that says where its run belongs: keys to group by, and the study's own, whoever made the run."""
    key, _, value = part_of(member).partition("=")
    own = copy.deepcopy(config)
    study = own.get("study") or {}
    place = {"name": member.study, "arm": member.arm if member.trial is None else None, "trial": member.trial}
    place |= {"metric": member.metrics[0]} if member.metrics else {}
    own |= {"study": {**study, **place}, "seed": member.seed}
    return own | {key: value if member.trial is None else member.trial}
