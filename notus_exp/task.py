"""From a composed config to a run: what Hydra calls for every job, here or in another process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from notus_exp.config import loading as configuration
from notus_exp.config.commandline import check_overrides
from notus_exp.config.schema import Config, Stage
from notus_exp.errors import UserError
from notus_exp.stages.monitor import PrunedError

HIDDEN_GROUPS = ("hydra/", "study")
"""Groups that are no choice about what a run computes."""
DISK_HINT = "mend that, or give another output_dir=FOLDER; finished stages are kept"


@dataclass
class Outcome:
    """How a run ended: the folder it left, or the expected error that stopped it. Hydra hands it back unchanged.

    Attributes:
        folder: Of a run that finished.
        error: Why it did not.
        pruned: Why its study ended it.
    """

    folder: str | None = None
    error: UserError | None = None
    pruned: str | None = None


def task(composed: DictConfig) -> Outcome:
    """Run one composed config; an expected error is returned, so that Hydra does not print or exit on it."""
    try:
        with disk_errors(composed.output_dir):
            hydra = HydraConfig.get()
            if hydra.mode is RunMode.RUN:
                _refuse_study(hydra.overrides.task)
            config, choices = load(composed, hydra.runtime.choices, hydra.overrides.task)
            return Outcome(folder=run(config, choices))
    except UserError as error:
        return Outcome(error=error)
    except PrunedError as pruned:
        return Outcome(pruned=str(pruned))


@contextmanager
def disk_errors(output_dir: str) -> Iterator[None]:
    """Turn what a full disk or an unusable folder raises into an error that says so.

    Raises:
        UserError: In the place of an OSError, or of what Polars makes of one.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or f"below output_dir={output_dir}"
        raise UserError(f"{error.strerror or error}: {where}", DISK_HINT) from error
    except Exception as error:
        # Polars has no error of its own for a full disk.
        if type(error).__module__.startswith("polars") and "IO error" in str(error):
            reason = str(error).splitlines()[0]
            raise UserError(f"{reason}: below output_dir={output_dir}", DISK_HINT) from error
        raise


def _refuse_study(overrides: Sequence[str]) -> None:
    """Refuse settings of a study in a single run, which reads none of them."""
    for override in overrides:
        if override.lstrip("+~").startswith("study."):
            raise UserError(f"'{override}' does nothing in a single run", "add -m to run a study")


def load(composed: DictConfig, chosen: Any, overrides: Sequence[str]) -> tuple[Config, dict[str, str]]:
    """Check a composed config and return it with the option chosen of each group.

    Args:
        composed: Without Hydra's own part.
        chosen: Option per group, Hydra's groups among them.
        overrides: Those of the task, as given.

    Raises:
        UserError: For anything that the config must not say.
    """
    choices: dict[str, Any] = {
        group: choice for group, choice in chosen.items() if choice is not None and not group.startswith(HIDDEN_GROUPS)
    }
    config = configuration.load(composed)
    configuration.check_choices(config, choices)
    evaluations = configuration.chosen_evaluations(config)
    choices["evaluation"] = ",".join(evaluations)
    check_overrides(overrides, evaluations, lora=config.dpo.lora.r > 0, judge=config.judge.name)
    return config, choices


def run(config: Config, choices: dict[str, str]) -> str:
    """Show a config's plan or execute it; return the run's folder."""
    from notus_exp.run.display import make_console
    from notus_exp.run.pipeline import Run
    from notus_exp.stages.monitor import NO_MONITOR, Monitor

    monitor: Monitor = NO_MONITOR
    if config.study.trial is not None:
        from notus_exp.study.search.pruning import open_monitor

        monitor = open_monitor(config)
    planned = Run(config, choices, make_console(sys.stderr), monitor)
    if config.until is Stage.config:
        planned.show_plan(make_console(sys.stdout))
    else:
        planned.execute()
    return str(planned.folder)
