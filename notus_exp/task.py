"""From a composed config to a run: what Hydra calls for every job, here or in another process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from notus_exp.config.commandline import of_study
from notus_exp.config.schema import Config, Stage
from notus_exp.disk import streams
from notus_exp.errors import UserError
from notus_exp.run.outcome import Outcome, disk_errors, load
from notus_exp.stages.monitor import PrunedError


def task(composed: DictConfig) -> Outcome:
    """Run one composed config; an expected error is returned, so that Hydra does not print or exit on it."""
    try:
        with disk_errors(composed.output_dir):
            hydra = HydraConfig.get()
            overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # as given
            if hydra.mode is RunMode.RUN:
                _refuse_study(overrides)
            config, choices = load(composed, hydra.runtime.choices, overrides)
            return run(config, choices)
    except UserError as error:
        return Outcome(error=error)
    except PrunedError as pruned:
        return Outcome(pruned=str(pruned))


def _refuse_study(overrides: Sequence[str]) -> None:
    """Refuse settings of a study in a single run, which reads none of them."""
    for override in overrides:
        if of_study(override):
            raise UserError(f"'{override}' does nothing in a single run", "add -m to run a study")


def run(config: Config, choices: dict[str, str]) -> Outcome:
    """Show a config's plan or execute it; return the run's folder, and which evaluations have no score."""
    from notus_exp.reporting.console import make_console
    from notus_exp.reporting.going_on import working

    console = make_console(streams.err())
    with working(console, "planning"):
        from notus_exp.run.pipeline import Run
        from notus_exp.stages.monitor import NO_MONITOR, Monitor

        monitor: Monitor = NO_MONITOR
        if config.study.trial is not None:
            from notus_exp.study.search.pruning import open_monitor

            monitor = open_monitor(config)
        planned = Run(config, choices, console, monitor)
    if config.until is Stage.config:
        from notus_exp.run.shown_plan import show_plan

        show_plan(planned, make_console(streams.out()))
        return Outcome(folder=str(planned.folder))
    unscored = planned.execute()
    if config.rounds.number > 1:
        from notus_exp.rounds_report.after_run import tell_rounds

        tell_rounds(planned.folder, console, brief=config.study.arm is not None)
    return Outcome(folder=str(planned.folder), unscored=unscored)
