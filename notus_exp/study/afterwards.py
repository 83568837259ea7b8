"""Tracking a study that is there: its group and its workspace in W&B, from what lies on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from notus_exp.config.schema import Tracking
from notus_exp.contracts.comparison_file import ComparisonFile, read_comparison
from notus_exp.contracts.run_file import RunFile
from notus_exp.contracts.study_file import SearchSummary, StudyFile
from notus_exp.disk import streams
from notus_exp.disk.outputs import COMPARISON_JSON, read_study
from notus_exp.errors import UserError
from notus_exp.reporting.console import make_console, shorten
from notus_exp.reporting.tables import Report
from notus_exp.reporting.texts import many
from notus_exp.run.retelling import events_of
from notus_exp.study.group import parts, track
from notus_exp.tracking import WorkspaceSpec, is_online, save, tracks, workspace
from notus_exp.training.measures import training_metrics

DEFAULTS = {
    "name": "wandb", "project": "notus-exp", "entity": None, "group": None, "tags": [], "mode": "auto",
    "artifacts": ["pairs", "model"],
}  # fmt: skip
"""Settings of runs that were made before they had a setting, or of a study without any record of a run."""
CURVES = ("policy/train/loss", *training_metrics())
"""Curves that a workspace shows where runs have them."""


def track_afterwards(folder: Path, settings: Mapping[str, str | None], *, only_shown: bool) -> Report:
    """Tell W&B of a study, and save its workspace where W&B is online.

    Args:
        folder: outputs/studies/<name>, with comparison.json.
        settings: Tracking settings in the place of those of the study's runs; None leaves one as it is.
        only_shown: Return the workspace, and tell W&B nothing.

    Raises:
        UserError: It is no study, was not compared yet, or W&B refuses something.
    """
    study = read_study(folder)
    try:
        comparison = read_comparison(folder / COMPARISON_JSON)
    except FileNotFoundError as error:
        raise UserError(f"{folder} was not compared yet", f"python -m notus_exp.compare {folder}") from error
    found = _found(folder, study)
    runs = [part.run for part in parts(study, folder, found)]
    tracking = _settings(runs, settings)
    spec = workspace_of(tracking, study, comparison, folder, found, runs)
    if only_shown:
        return Report({"workspace": spec})
    if not tracks(tracking):
        raise UserError("WANDB_MODE=disabled: nothing is tracked", "unset it, or give --mode offline")
    console = make_console(streams.err())
    track(tracking, study, comparison, folder, console.print, found, console.print)
    which = f"{many(len(runs), 'run')} of {study['name']}"
    told = f"W&B was told of {which}: group {spec['group']}, project {spec['project']}"
    if is_online(tracking):
        return Report({"workspace": spec}, sentences=[told, f"workspace: {save(spec)}"])
    sync = f"wandb sync --yes {shorten(folder)}/wandb/offline-run-*"
    return Report({}, sentences=[told, f"offline: `{sync}` sends them; then this command online saves the workspace"])


def workspace_of(
    tracking: Tracking,
    study: StudyFile,
    comparison: ComparisonFile,
    folder: Path,
    found: SearchSummary | None,
    runs: Iterable[RunFile],
) -> WorkspaceSpec:
    """Return the workspace of a study with those curves that its runs have."""
    there = {f"{event.stage}/{name}" for run in runs for event in events_of(run, folder) for name in event.metrics}
    return workspace(tracking, study, comparison, [name for name in CURVES if name in there], found)


def _found(folder: Path, study: StudyFile) -> SearchSummary | None:
    if study["kind"] != "search":
        return None
    from notus_exp.study.search.summary import summary  # imports Optuna

    return summary(folder)


def _settings(runs: Iterable[RunFile], changed: Mapping[str, str | None]) -> Tracking:
    """Return the tracking settings of a study's runs, `changed` in their place, with W&B as the tracker."""
    recorded: dict[str, Any] = next(filter(None, (run.get("config", {}).get("tracking") for run in runs)), {})
    known = {spec.name for spec in fields(Tracking)}
    own = {name: value for name, value in recorded.items() if name in known}
    given = {name: value for name, value in changed.items() if value is not None}
    return Tracking(**{**DEFAULTS, **own, **given, "name": "wandb"})  # type: ignore[arg-type]
