"""The command `python -m notus_exp`: composes a config with Hydra, runs it, and renders every expected error once."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from notus_exp import config as configuration
from notus_exp.errors import UserError

LOG_WIDTH = 160
"""Columns of the tables where there is no terminal to fit."""
HIDDEN_GROUP = "hydra/"


@dataclass
class Outcome:
    """How a run ended: the folder it left, or the expected error that stopped it. Hydra hands it back unchanged."""

    folder: str | None = None
    error: UserError | None = None


def task(composed: DictConfig) -> Outcome:
    """Run one composed config; an expected error is returned, so that Hydra does not print or exit on it."""
    try:
        return Outcome(folder=run(composed))
    except UserError as error:
        return Outcome(error=error)
    except OSError as error:
        hint = "mend that, or give another output_dir=FOLDER; finished stages are kept"
        return Outcome(error=UserError(f"{error.strerror or error}: {error.filename or 'no file'}", hint))


def run(composed: DictConfig) -> str:
    """Check a config, then show its plan or execute it; return the run's folder."""
    configuration.reject_empty_mappings(list(HydraConfig.get().overrides.task))
    config = configuration.load(composed)
    choices = {
        group: choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if choice is not None and not group.startswith(HIDDEN_GROUP)
    }
    from rich.console import Console

    from notus_exp.pipeline import Run
    from notus_exp.schema import Stage

    def console(stderr: bool) -> Console:
        stream = sys.stderr if stderr else sys.stdout
        return Console(stderr=stderr, width=None if stream.isatty() else LOG_WIDTH)

    planned = Run(config, choices, console(stderr=True))
    if config.until is Stage.config:
        planned.show_plan(console(stderr=False))
    else:
        planned.execute()
    return str(planned.folder)


def main() -> None:
    """Run the command line; exit with 0, 2 after an expected error, or 130 after Ctrl-C."""
    # Hydra would print its own errors over several lines and exit; with this it lets them through to here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    configuration.register()
    entry = hydra.main(version_base="1.3", config_path=str(configuration.conf_dir()), config_name="config")
    outcomes: list[Outcome] = []

    def collect(composed: DictConfig) -> Outcome:
        outcomes.append(task(composed))
        return outcomes[-1]

    try:
        entry(collect)()
    except KeyboardInterrupt:
        _fail("interrupted; finished stages are kept, and the same command goes on from there", 130)
    except UserError as error:
        _fail(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _fail(str(configuration.explain(error)), 2)
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra's way of refusing GROUP=null
            raise
        _fail(str(configuration.explain(error)), 2)
    for outcome in outcomes:
        if outcome.error:
            _fail(str(outcome.error), 2)
        with suppress(BrokenPipeError):  # the reader, such as `head`, has seen enough
            print(outcome.folder, flush=True)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
