"""A whole study: define, check, show, tune, run, compare. Hydra's sweeper plugin calls `sweep`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from notus_exp import config as configuration
from notus_exp.artifacts import write_json
from notus_exp.credentials import without_credentials
from notus_exp.display import make_console, shorten
from notus_exp.errors import UserError
from notus_exp.ranges import check
from notus_exp.schema import Config, Stage
from notus_exp.scoring.report import show as show_report
from notus_exp.study import planned as plans
from notus_exp.study import tuning
from notus_exp.study.definition import Arm, Definition, define, quoted
from notus_exp.study.index import STUDY_JSON, read_run, read_study
from notus_exp.study.jobs import Jobs
from notus_exp.study.metrics import is_known, known_metrics
from notus_exp.study.planned import Budget, Planned
from notus_exp.study.settings import Study


def sweep(loader: ConfigLoader, launcher: Launcher, master: DictConfig, arguments: Sequence[str]) -> None:
    """Run the study that a multirun's config and command line describe.

    Every arm is checked before the first run starts. What is there already is not run again, so the same command goes
    on with a study that was stopped in any way. The last line on standard output is the study's folder.

    Raises:
        UserError: The study cannot be run as described, or some of its runs failed: the others are compared first.
    """
    console = make_console(sys.stderr)
    jobs = Jobs(loader, launcher, master, console)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    definition = define(_settings(master), overrides)
    folder = Path(str(master.output_dir)).absolute() / "studies" / definition.name
    only_shown = master.until == Stage.config
    if definition.kind == "search":
        _search(jobs, definition, folder, console, only_shown=only_shown)
    else:
        _compare_arms(jobs, definition, folder, console, only_shown=only_shown)
    print(folder, flush=True)


def _settings(master: DictConfig) -> Study:
    try:
        settings = OmegaConf.to_object(master.study)
    except OmegaConfBaseException as error:
        raise configuration.explain(error) from error
    assert isinstance(settings, Study)
    configuration.reject_unknown_keys(master.study, "study.")
    check(settings, "study.")
    return settings


def _common(definition: Definition) -> list[str]:
    """Return the overrides of every run: the user's, and where it belongs."""
    own = [override for override in definition.common if not override.lstrip("+").startswith("study.name=")]
    return [*own, f"study.name={quoted(definition.name)}"]


def _member(arm: Arm) -> list[str]:
    return [*arm.overrides, f"study.arm={quoted(arm.name)}"]


# ---------------------------------------------------------------------------------------------------------------- arms
def _compare_arms(jobs: Jobs, definition: Definition, folder: Path, console: Console, *, only_shown: bool) -> None:
    settings = definition.settings
    overrides = {arm.name: [*_common(definition), *_member(arm)] for arm in definition.arms}
    tried: list[tuning.Candidate] = []
    if settings.tune:
        tried = tuning.candidates(jobs, settings, overrides)
        planned = [planned for one in tried for planned in one.runs]
    else:
        planned = _plan(jobs, settings, overrides)
    config = planned[0].run.config
    plans.check_alike(planned, settings.metric)
    compared = config.until in (Stage.config, Stage.evaluation)
    if compared:
        _check_metrics(settings, planned)
    _check_costs(settings, config)
    if definition.common and folder.exists():
        _check_same(definition, folder)
    plans.show(planned, folder, console if not only_shown else make_console(sys.stdout))
    if only_shown:
        return
    budget = Budget(settings.max_hours, settings.max_cost, folder)
    study = _study_json(definition)
    _write(folder, study)
    unplanned: dict[str, str] = {}
    if settings.tune:
        unplanned |= _launch(jobs, planned, folder, settings, budget, console)
        study["tuning"] = tuning.outcome(folder, settings, tried)
        overrides = _tuned(study, overrides, settings)
        planned = _plan(jobs, settings, overrides)
        _note_runs(study, planned)
        _write(folder, study)
    else:
        _note_runs(study, planned)
        _write(folder, study)
    unplanned |= _launch(jobs, planned, folder, settings, budget, console)
    _note_failures(study, planned, unplanned, folder)
    _write(folder, study)
    if compared:
        _conclude(study, config, folder, console)
    _raise_failures(study, planned, folder)


def _plan(jobs: Jobs, settings: Study, overrides: Mapping[str, Sequence[str]]) -> list[Planned]:
    return [one for arm, given in overrides.items() for one in plans.plan_arm(jobs, arm, settings.seeds, given)]


def _launch(
    jobs: Jobs, planned: Sequence[Planned], folder: Path, settings: Study, budget: Budget, console: Console
) -> dict[str, str]:
    ids = [one.run.id for one in planned]
    return plans.launch(
        jobs, planned, folder, batch=settings.batch, stop=lambda: budget.exhausted(ids), console=console
    )


def _tuned(study: dict[str, Any], overrides: Mapping[str, Sequence[str]], settings: Study) -> dict[str, list[str]]:
    """Return the arms' overrides with what tuning chose; an arm of which nothing could be measured drops out."""
    chosen = tuning.best(settings, study["tuning"])
    complete = {}
    for arm, given in overrides.items():
        if arm not in chosen:
            reasons = {str(entry["reason"]) for entry in study["tuning"][arm]}
            failure = f"tuning measured none of its candidates: {'; '.join(sorted(reasons))}"
            study["unplanned"][arm] = {str(seed): failure for seed in settings.seeds}
            continue
        study["arms"][arm]["tuned"] = chosen[arm]
        complete[arm] = [*given, *(f"{key}={value}" for key, value in chosen[arm].items())]
    if not complete:
        raise UserError("tuning measured no candidate of any arm", "the reasons are in study.json, under tuning")
    return complete


def _check_metrics(settings: Study, planned: Sequence[Planned]) -> None:
    """Check that every arm will report the primary metric, and what tuning optimises."""
    for one in {planned.arm: planned for planned in planned}.values():
        known = known_metrics(one.run.config)
        if not is_known(settings.metric, known):
            raise UserError(
                f"study.metric={settings.metric} is not measured by arm '{one.arm}'",
                f"it measures {', '.join(known)}",
            )
        if settings.tune:
            tuning.require_tunable(settings, known)


def _check_costs(settings: Study, config: Config) -> None:
    judged = any(getattr(config.evaluation, name) for name in ("alpaca_eval", "mt_bench"))
    if settings.max_cost is not None and judged and config.judge.input_price is None:
        raise UserError(
            f"study.max_cost={settings.max_cost:g} cannot be kept without prices",
            "add judge.input_price=USD and judge.output_price=USD, per million tokens",
        )


def _check_same(definition: Definition, folder: Path) -> None:
    """Refuse a study whose name belongs to one with another meaning of the same arms."""
    try:
        before = read_study(folder)
    except UserError:
        return
    now = _study_json(definition)
    for arm, spec in now["arms"].items():
        known = before["arms"].get(arm)
        if known is not None and _results(known["overrides"]) != _results(spec["overrides"]):
            raise UserError(
                f"the study '{definition.name}' exists, and its arm '{arm}' is another: {' '.join(known['overrides'])}",
                "give another study.name=NAME",
            )


def _results(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that change what a run computes, and not only how it is run and followed."""
    means = ("until", "output_dir", "tracking", "hardware", "hydra")
    return [one for one in overrides if one.lstrip("+~").split("=")[0].split(".")[0].split("/")[0] not in means]


# --------------------------------------------------------------------------------------------------------------- index
def _study_json(definition: Definition) -> dict[str, Any]:
    settings = definition.settings
    common = [override for override in definition.common if not override.lstrip("+").startswith("study.")]
    return {
        "name": definition.name,
        "kind": definition.kind,
        "command": without_credentials(sys.argv[1:]),
        "metric": settings.metric,
        "baseline": settings.baseline,
        "margin": settings.margin,
        "seeds": settings.seeds,
        "factors": definition.factors,
        "arms": {
            arm.name: {"overrides": [*common, *arm.overrides], "levels": arm.levels, "tuned": {}, "runs": {}}
            for arm in definition.arms
        },
        "tuning": None,
        "unplanned": {},
    }


def _note_runs(study: dict[str, Any], planned: Sequence[Planned]) -> None:
    for one in planned:
        study["arms"][one.arm]["runs"][str(one.seed)] = one.run.id


def _note_failures(study: dict[str, Any], planned: Sequence[Planned], reasons: Mapping[str, str], folder: Path) -> None:
    """Keep the reasons of runs that left no record of their own, such as one whose launcher died."""
    for one in planned:
        recorded = read_run(folder, one.run.id)["status"] in ("finished", "failed", "pruned", "interrupted")
        if one.run.id in reasons and not recorded and not reasons[one.run.id].startswith("not started"):
            study["unplanned"].setdefault(one.arm, {})[str(one.seed)] = reasons[one.run.id]


def _write(folder: Path, study: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STUDY_JSON, dict(study))


# ----------------------------------------------------------------------------------------------------------------- end
def _conclude(study: dict[str, Any], config: Config, folder: Path, console: Console) -> None:
    """Compare what finished, show it and track it."""
    from notus_exp.study.outcome import write_outcome
    from notus_exp.study.terminal import study_report
    from notus_exp.tracking import track_study

    if not any(
        read_run(folder, run)["status"] == "finished" for arm in study["arms"].values() for run in arm["runs"].values()
    ):
        console.print("no run of the study has finished, so there is nothing to compare")
        return
    comparison = write_outcome(folder)
    show_report(study_report(comparison, folder), console, as_json=False)
    track_study(config.tracking, study, comparison, folder, console.print)


def _raise_failures(study: Mapping[str, Any], planned: Sequence[Planned], folder: Path) -> None:
    failed = {}
    for one in planned:
        record = read_run(folder, one.run.id)
        reason = study["unplanned"].get(one.arm, {}).get(str(one.seed)) or record.get("error")
        if record["status"] != "finished" and reason:
            failed[f"{one.arm}, seed {one.seed}"] = str(reason).splitlines()[0]
    lost = [arm for arm in study["arms"] if not study["arms"][arm]["runs"]]
    failed |= {arm: next(iter(study["unplanned"][arm].values())) for arm in lost if study["unplanned"].get(arm)}
    if failed:
        shown = "\n  ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise UserError(
            f"{len(failed)} of {len(planned)} runs failed; the others are compared in {shorten(folder)}\n  {shown}",
            "the same command tries them again",
        )


# -------------------------------------------------------------------------------------------------------------- search
def _search(jobs: Jobs, definition: Definition, folder: Path, console: Console, *, only_shown: bool) -> None:
    from notus_exp.study.search.run import run_search

    settings = definition.settings
    budget = Budget(settings.max_hours, settings.max_cost, folder)
    search = settings.search
    study = _study_json(definition) | {
        "search": {
            "storage_file": None if search.storage else "optuna.db",
            "storage": without_credentials(search.storage) if search.storage else None,
            "objectives": search.objectives,
            "constraints": search.constraints,
            "parameters": search.parameters,
            "sampler": search.sampler,
            "pruner": search.pruner,
        }
    }
    if not only_shown:
        _write(folder, study)
    run_search(jobs, settings, folder, _common(definition), console, lambda: budget.exhausted(_ids(folder)))
    _conclude_search(folder, console)


def _ids(folder: Path) -> list[str]:
    from notus_exp.study.search.summary import summary

    return [run for trial in summary(folder)["trials"] for run in trial["runs"].values()]


def _conclude_search(folder: Path, console: Console) -> None:
    from notus_exp.study.outcome import write_outcome
    from notus_exp.study.terminal import study_report

    show_report(study_report(write_outcome(folder), folder), console, as_json=False)
