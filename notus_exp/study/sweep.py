"""A whole study: define, check, show, tune, run, compare. Hydra's sweeper plugin calls `sweep`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from notus_exp.config import loading as configuration
from notus_exp.config.commandline import quoted
from notus_exp.config.composing import composing_alike
from notus_exp.config.explaining import explain
from notus_exp.config.judge_settings import ChatJudge
from notus_exp.config.ranges import check
from notus_exp.config.schema import Config, Stage, Tracking, reaches
from notus_exp.config.study_settings import Study
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk import streams
from notus_exp.disk.files import LIBRARIES_LOG
from notus_exp.disk.outputs import STUDY_JSON, read_run
from notus_exp.errors import UnscoredError, UserError, first_line, nearest
from notus_exp.evaluation.catalogue import judged
from notus_exp.evaluation.metrics import check_margin, is_known, known_metrics, limit_of
from notus_exp.reporting.console import make_console, say, shorten
from notus_exp.reporting.going_on import working
from notus_exp.reporting.tables import show as show_report
from notus_exp.reporting.texts import many, tell_path
from notus_exp.run.outcome import disk_errors
from notus_exp.run.warm_workers import keeping_warm
from notus_exp.study.launching import planned as plans
from notus_exp.study.launching import study_json as record
from notus_exp.study.launching import tuning
from notus_exp.study.launching.alike import check_alike
from notus_exp.study.launching.definition import Arm, Definition, define
from notus_exp.study.launching.jobs import Jobs
from notus_exp.study.launching.launched import Budget, Launched, launch
from notus_exp.study.launching.planned import Planned
from notus_exp.study.launching.served_models import check_served
from notus_exp.study.launching.sizes import unlike_sizes


def sweep(loader: ConfigLoader, launcher: Launcher, master: DictConfig, arguments: Sequence[str]) -> None:
    """Run the study that a multirun's config and command line describe.

    Every arm is checked before the first run starts. What is there already is not run again, so the same command goes
    on with a study that was stopped in any way. The last line on standard output is the study's folder, behind its plan
    with `until=config`.

    Raises:
        UserError: The study cannot be run as described, or some of its runs failed: the others are compared first.
        UnscoredError: All runs finished, and some have no score of an evaluation that was asked for.
    """
    console = make_console(streams.err())
    jobs = Jobs(loader, launcher, master, console)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    definition = define(_settings(master), overrides)
    folder = Path(str(master.output_dir)).absolute() / "studies" / definition.name
    only_shown = master.until == Stage.config
    conduct = _search if definition.kind == "search" else _compare_arms
    log = nullcontext() if only_shown else streams.kept_in(folder / LIBRARIES_LOG)
    workers = keeping_warm() if jobs.in_process and not only_shown else nullcontext()
    with disk_errors(master.output_dir), log, workers:
        unscored = conduct(jobs, definition, folder, console, only_shown=only_shown)
    tell_path(str(folder), streams.out())
    if unscored:
        shown = "\n  ".join(f"{name}: {reason}" for name, reason in unscored.items())
        count = "1 run has" if len(unscored) == 1 else f"{len(unscored)} runs have"
        raise UnscoredError(f"{count} no score of an evaluation that was asked for\n  {shown}")


def _settings(master: DictConfig) -> Study:
    try:
        settings = OmegaConf.to_object(master.study)
    except OmegaConfBaseException as error:
        raise explain(error) from error
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
def _compare_arms(
    jobs: Jobs, definition: Definition, folder: Path, console: Console, *, only_shown: bool
) -> dict[str, str]:
    """Run and compare the arms; return the runs without a score, each with the reason."""
    settings = definition.settings
    overrides = {arm.name: [*_common(definition), *_member(arm)] for arm in definition.arms}
    with working(console, "planning the runs") as move:
        planned = _plan(jobs, settings, overrides, move)
    with composing_alike():
        tried = tuning.candidates(jobs, settings, overrides) if settings.tune else []
    _check(definition, planned, tried, folder)
    out = make_console(streams.out()) if only_shown else console
    first = [run for one in tried for run in one.runs] or planned
    plans.show(first, folder, out, tell=lambda line: say(console, line), in_process=jobs.in_process)
    if tried:
        later = many(len(planned), "run compares", "runs compare")
        out.print(f"these runs tune {', '.join(settings.tune)}; then {later} the arms")
    if only_shown:
        return {}
    if count := record.replaced(planned, folder):
        console.print(f"note: data, code or libraries changed: {count} finished runs leave this study for new ones")
    study = record.describe(definition)
    for note in record.note_plan(study, folder):
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if not tried:
        record.note_runs(study, planned, folder)
    record.write(folder, study)
    budget = Budget(settings.max_hours, settings.max_cost, folder)
    spending = [run.run.id for one in tried for run in one.runs]
    if tried:
        launched = _launch(
            jobs, [run for one in tried for run in one.runs], spending, folder, settings, budget, console
        )
        study["tuning"] = tuning.outcome(folder, settings, tried)
        record.write(folder, study)
        _track_runs(planned[0].run.config, study, folder, console)
        if launched.stopped:  # arms are compared after the same number of candidates, or not at all
            return {}
        with working(console, "planning the runs") as move:
            planned = _plan(jobs, settings, _tuned(study, overrides, settings), move)
        _check_served(planned, ())
        record.note_runs(study, planned, folder)
        record.write(folder, study)
        plans.show(planned, folder, console, tell=lambda line: say(console, line), in_process=jobs.in_process)
    spending += [one.run.id for one in planned]
    launched = _launch(jobs, planned, spending, folder, settings, budget, console)
    record.note_failures(study, planned, launched.failed, folder)
    record.write(folder, study)
    config = planned[0].run.config
    _track_runs(config, study, folder, console)
    unscored = _unscored({f"{one.arm}, seed {one.seed}": one.run.id for one in planned}, folder)
    if _compared(config):
        try:
            _conclude(study, config, folder, console)
        except UserError as error:  # no arm has the primary metric
            if not unscored:
                raise
            say(console, str(error))
    _raise_failures(study, planned, folder)
    return unscored


def _plan(
    jobs: Jobs, settings: Study, overrides: Mapping[str, Sequence[str]], move: Callable[[float, float], None]
) -> list[Planned]:
    planned: list[Planned] = []
    with composing_alike():
        for done, (arm, given) in enumerate(overrides.items(), 1):
            planned += plans.plan_arm(jobs, arm, settings.seeds, given)
            move(done, len(overrides))
    return planned


def _trained(config: Config) -> bool:
    """Say whether runs go far enough to train."""
    return reaches(config.until, Stage.policy)


def _compared(config: Config) -> bool:
    """Say whether runs go far enough to be compared."""
    return config.until in (Stage.config, Stage.evaluation)


def _launch(
    jobs: Jobs,
    planned: Sequence[Planned],
    spending: Sequence[str],
    folder: Path,
    settings: Study,
    budget: Budget,
    console: Console,
) -> Launched:
    def curated() -> None:
        if found := unlike_sizes(planned):
            if _trained(planned[0].run.config):
                raise found
            console.print(f"note: {found}", markup=False, highlight=False, soft_wrap=True)

    return launch(
        jobs,
        planned,
        folder,
        batch=settings.batch,
        stop=lambda: budget.exhausted(spending),
        console=console,
        curated=curated if settings.match_size else None,
    )


def _tuned(study: StudyFile, overrides: Mapping[str, Sequence[str]], settings: Study) -> dict[str, list[str]]:
    """Return the arms' overrides with what tuning chose; an arm of which nothing could be measured drops out."""
    tried = study["tuning"] or {}
    chosen = tuning.best(settings, tried)
    complete = {}
    for arm, given in overrides.items():
        if arm not in chosen:
            reasons = {str(entry["reason"]) for entry in tried[arm]}
            failure = f"tuning measured none of its candidates: {'; '.join(sorted(reasons))}"
            study["unplanned"][arm] = {str(seed): failure for seed in settings.seeds}
            continue
        study["arms"][arm]["tuned"] = chosen[arm]
        complete[arm] = [*given, *(f"{key}={value}" for key, value in chosen[arm].items())]
    if not complete:
        raise UserError("tuning measured no candidate of any arm", "the reasons are in study.json, under tuning")
    return complete


# -------------------------------------------------------------------------------------------------------------- checks
def _check(definition: Definition, planned: Sequence[Planned], tried: Sequence[tuning.Candidate], folder: Path) -> None:
    """Check everything that can be known before anything is spent."""
    settings, config = definition.settings, planned[0].run.config
    check_alike(planned, settings.metric)
    _check_served(planned, tried)
    if _compared(config):
        _check_metric(settings, planned)
        tuning.check_tunable(settings, tried)
    elif settings.tune:
        raise UserError(f"study.tune needs evaluations, but until={config.until.name}", "leave one of them out")
    _check_costs(settings, config)
    record.check_same(definition, folder)
    if settings.match_size and _trained(config) and (found := unlike_sizes(planned, complete=True)):
        raise found


def _check_served(planned: Sequence[Planned], tried: Sequence[tuning.Candidate]) -> None:
    """Check that no served model stands in for several models of these runs, those of the tuning among them."""
    named = {f"arm '{one.arm}', seed {one.seed}": one.run for one in planned}
    for candidate in tried:
        values = ", ".join(f"{key}={value}" for key, value in candidate.values.items())
        named |= {f"arm '{one.arm}', seed {one.seed} ({values})": one.run for one in candidate.runs}
    check_served(named)


def _check_metric(settings: Study, planned: Sequence[Planned]) -> None:
    """Check that every arm will report the primary metric, and that the margin is one in it."""
    for one in {planned.arm: planned for planned in planned}.values():
        known = known_metrics(one.run.config)
        if not is_known(settings.metric, known):
            raise UserError(
                f"study.metric={settings.metric} is not measured by arm '{one.arm}'",
                nearest(settings.metric, known),
            )
    if settings.margin is not None:
        limit = limit_of(settings.metric, [one.run.config.evaluation for one in planned])
        check_margin(settings.metric, settings.margin, "study.margin", limit)


def _check_costs(settings: Study, config: Config) -> None:
    unpriced = isinstance(config.judge, ChatJudge) and config.judge.input_price is None
    if settings.max_cost is not None and judged(config.evaluation) and unpriced:
        raise UserError(
            f"study.max_cost={settings.max_cost:g} cannot be kept without prices",
            "add judge.input_price=USD and judge.output_price=USD, per million tokens",
        )


# ----------------------------------------------------------------------------------------------------------------- end
def _conclude(study: StudyFile, config: Config, folder: Path, console: Console) -> None:
    """Compare what finished, show it and track it."""
    from notus_exp.comparison.terminal import study_report
    from notus_exp.study.conclusion import write_outcome
    from notus_exp.tracking import track_study

    if not any(
        read_run(folder, run)["status"] == "finished" for arm in study["arms"].values() for run in arm["runs"].values()
    ):
        console.print("no run of the study has finished, so there is nothing to compare")
        return
    with working(console, "comparing the arms and writing the report"):
        comparison = write_outcome(folder)
        report = study_report(comparison, folder)
    show_report(report, console, as_json=False)
    with working(console, "telling W&B"):
        track_study(config.tracking, study, comparison, folder, console.print)


def _track_runs(config: Config, study: StudyFile, folder: Path, console: Console) -> None:
    """Tell W&B of the runs that it was not told of while they went on: of those that were made before, for example."""
    from notus_exp.study.group import track_runs

    with working(console, "telling W&B"):
        track_runs(config.tracking, study, folder, console.print, say=console.print)


def _unscored(runs: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return which finished runs have no score of an evaluation that was asked for, and why.

    Args:
        runs: What a run is called -> its id.
        folder: The study's.
    """
    records = {name: read_run(folder, run) for name, run in runs.items()}
    return {
        name: "; ".join(record["unscored"].values())
        for name, record in records.items()
        if record["status"] == "finished" and record.get("unscored")
    }


def _raise_failures(study: StudyFile, planned: Sequence[Planned], folder: Path) -> None:
    failed = {}
    for one in planned:
        record = read_run(folder, one.run.id)
        reason = study["unplanned"].get(one.arm, {}).get(str(one.seed)) or record.get("error")
        if record["status"] != "finished" and reason:
            failed[f"{one.arm}, seed {one.seed}"] = first_line(str(reason))
    lost = [arm for arm in study["arms"] if not study["arms"][arm]["runs"]]
    failed |= {arm: next(iter(study["unplanned"][arm].values())) for arm in lost if study["unplanned"].get(arm)}
    if failed:
        finished = any(read_run(folder, one.run.id)["status"] == "finished" for one in planned)
        rest = f"the others are compared in {shorten(folder)}" if finished else "there is nothing to compare"
        shown = "\n  ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise UserError(
            f"{len(failed)} of {len(planned)} runs failed; {rest}\n  {shown}",
            "the same command tries them again",
        )


# -------------------------------------------------------------------------------------------------------------- search
def _search(jobs: Jobs, definition: Definition, folder: Path, console: Console, *, only_shown: bool) -> dict[str, str]:
    """Run the search and conclude it; return the runs without a score, each with the reason."""
    from notus_exp.study.search.searching import run_search
    from notus_exp.study.search.storage_urls import remembered

    record.check_same(definition, folder)
    settings = definition.settings
    budget = Budget(settings.max_hours, settings.max_cost, folder)
    search = settings.search
    study = record.describe(definition)
    study["search"] = {
        "storage_file": None if search.storage else "optuna.db",
        "storage": remembered(search.storage) if search.storage else None,
        "objectives": search.objectives,
        "constraints": search.constraints,
        "parameters": search.parameters,
        "sampler": search.sampler,
        "pruner": search.pruner,
    }

    def may_start() -> str | None:
        if settings.max_cost is None or not (folder / STUDY_JSON).is_file():
            return budget.exhausted([])
        from notus_exp.study.search.summary import spent_elsewhere

        return budget.exhausted(_ids(folder), spent_elsewhere(folder) if search.storage else 0.0)

    # What the search was begun with stays in study.json: it is written once nothing can be refused any more.
    run_search(
        jobs, settings, folder, _common(definition), console, may_start, begin=lambda: record.write(folder, study)
    )
    if only_shown:
        return {}
    _conclude_search(jobs.tracking, study, folder, console)
    return _unscored({f"run {run}": run for run in _ids(folder)}, folder)


def _ids(folder: Path) -> list[str]:
    from notus_exp.study.search.summary import runs_of_trials

    return runs_of_trials(folder)


def _conclude_search(tracking: Tracking, study: StudyFile, folder: Path, console: Console) -> None:
    from notus_exp.study.conclusion import write_outcome
    from notus_exp.study.group import track
    from notus_exp.study.search.search_terminal import search_report

    with working(console, "comparing the trials and writing the report"):
        comparison = write_outcome(folder)
        report = search_report(comparison, folder)
    show_report(report, console, as_json=False)
    with working(console, "telling W&B"):
        track(tracking, study, comparison, folder, console.print, comparison["search"], console.print)
