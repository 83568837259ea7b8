"""The command `python -m notus_exp`: composes a config with Hydra, runs it, and renders every expected error once."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

if __name__ == "__main__":  # Ctrl-C while the imports below load ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from notus_exp import config as configuration
from notus_exp.commandline import check_arguments, check_overrides
from notus_exp.errors import UserError

HIDDEN_GROUP = "hydra/"
DISK_HINT = "mend that, or give another output_dir=FOLDER; finished stages are kept"


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
        where = error.filename or f"below output_dir={composed.output_dir}"
        return Outcome(error=UserError(f"{error.strerror or error}: {where}", DISK_HINT))
    except Exception as error:
        # Polars has no error of its own for a full disk.
        if type(error).__module__.startswith("polars") and "IO error" in str(error):
            reason = str(error).splitlines()[0]
            return Outcome(error=UserError(f"{reason}: below output_dir={composed.output_dir}", DISK_HINT))
        raise


def run(composed: DictConfig) -> str:
    """Check a config, then show its plan or execute it; return the run's folder."""
    choices: dict[str, Any] = {
        group: choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if choice is not None and not group.startswith(HIDDEN_GROUP)
    }
    config = configuration.load(composed)
    configuration.check_choices(config, choices)
    evaluations = configuration.chosen_evaluations(config)
    choices["evaluation"] = ",".join(evaluations)
    overrides = HydraConfig.get().overrides.task
    check_overrides(overrides, evaluations, lora=config.dpo.lora.r > 0, judge=config.judge.name)
    from notus_exp.display import make_console
    from notus_exp.pipeline import Run
    from notus_exp.schema import Stage

    planned = Run(config, choices, make_console(sys.stderr))
    if config.until is Stage.config:
        planned.show_plan(make_console(sys.stdout))
    else:
        planned.execute()
    return str(planned.folder)


def main() -> None:
    """Run the command line; exit with 0, 2 after an expected error, or 130 after Ctrl-C."""
    # Hydra would print its own errors over several lines and exit; with this it lets them through to here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    configuration.register()
    entry = hydra.main(version_base="1.3", config_path=str(configuration.conf_dir()), config_name="config")
    outcomes: list[Outcome] = []

    def collect(composed: DictConfig) -> Outcome:
        outcomes.append(task(composed))
        return outcomes[-1]

    try:
        check_arguments(sys.argv[1:])
        entry(collect)()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break into the farewell
        _fail("interrupted; finished stages are kept, and the same command goes on from there", 130)
    except UserError as error:
        _fail(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        _fail(str(configuration.explain(error)), 2)
    except (ValueError, AssertionError) as error:
        # Hydra's ways of refusing GROUP=null, and a key of a section that is null
        if not any(known in str(error) for known in ("Config group override", "Unexpected type for root")):
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
