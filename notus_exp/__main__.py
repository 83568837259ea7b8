"""The command `python -m notus_exp`: composes a config with Hydra, runs it, and renders every expected error once."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress

if __name__ == "__main__":  # Ctrl-C while the imports below load ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config import commandline
from notus_exp.config import loading as configuration
from notus_exp.config.explaining import explain
from notus_exp.config.folders import conf_dir
from notus_exp.disk import streams
from notus_exp.errors import UserError, strike, whole_traceback
from notus_exp.reporting.commands import as_process
from notus_exp.reporting.texts import QUIET, SHOWN, VERBOSE, tell, tell_path
from notus_exp.reporting.versions import versions
from notus_exp.run.outcome import Outcome, unscored
from notus_exp.task import task


def main() -> None:
    """Run the command line; exit with 0, 2 after an expected error, 3 without a score asked for, 130 after Ctrl-C."""
    # Hydra would print its own errors over several lines and exit; with this it lets them through to here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.excepthook = lambda kind, error, trace: tell(whole_traceback(error), streams.err())
    configuration.register()
    with streams.apart():
        try:
            _main()
        except Exception:
            if said := streams.said().strip():  # by libraries, and in no log: it may explain what follows
                tell(strike(said), streams.err())
            raise


def _main() -> None:
    """Run the command line, where only what is told through `streams` reaches the terminal."""
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    outcomes: list[Outcome] = []
    overrides: list[str] = []

    def collect(composed: DictConfig) -> Outcome:
        """Do what Hydra composed, and keep a single run's outcome for the terminal."""
        outcome = task(composed)
        if HydraConfig.get().mode is not RunMode.MULTIRUN:  # a study tells by itself how its runs ended
            outcomes.append(outcome)
        return outcome

    try:
        commandline.check_arguments(sys.argv[1:])
        flags, given = commandline.split(sys.argv[1:])
        overrides = [commandline.readable(override) for override in given]
        commandline.check_flags(flags)
        commandline.check_repeated(overrides)
        _set_shown(flags)
        flags = commandline.without_own(flags)
        if request := commandline.completion(flags):
            _complete(request)
            return
        if "--version" in flags:
            tell("\n".join(versions()), streams.out())
            return
        if commandline.names_study(flags, overrides):
            flags.append(commandline.MULTIRUN[1])
        sys.argv[1:] = [*overrides, *flags]  # argparse does not take overrides on both sides of a flag
        _show(entry(collect)) if commandline.shows(flags) else _run(entry(collect))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break into the farewell
        _fail("interrupted; finished stages are kept, and the same command goes on from there", 130)
    except UserError as error:
        _fail(str(error), error.code)
    except (HydraException, OmegaConfBaseException) as error:
        _fail(str(explain(error, overrides)), 2)
    except (ValueError, AssertionError) as error:
        # Hydra's ways of refusing GROUP=null, and a key of a section that is null
        if not any(known in str(error) for known in ("Config group override", "Unexpected type for root")):
            raise
        _fail(str(explain(error, overrides)), 2)
    for outcome in outcomes:
        if outcome.error:
            _fail(str(outcome.error), 2)
        with suppress(BrokenPipeError):  # the reader, such as `head`, has seen enough
            tell_path(str(outcome.folder), streams.out())
        if outcome.unscored:
            lacking = unscored(outcome.unscored)
            _fail(str(lacking), lacking.code)


def _run(entry: Callable[[], None]) -> None:
    """Let Hydra compose, which takes a second or more, and run what it calls."""
    from notus_exp.reporting.console import make_console
    from notus_exp.reporting.going_on import going_on

    foot = going_on(make_console(streams.err()))
    foot.begin("composing")
    try:
        entry()
    finally:
        foot.begun()
        if "wandb" in sys.modules:
            from notus_exp.tracking import end_service

            foot.begin("closing W&B")  # its service would be waited for at the very end, where nothing can be shown
            end_service()
            foot.begun()


def _complete(request: str) -> None:
    """Answer a shell that completes our command: with a script, or with what may follow on the line it holds."""
    from notus_exp.config import completing

    if request == "query=bash":
        tell("\n".join(completing.candidates(os.environ.get("COMP_LINE", ""))), streams.out())
    else:
        tell(completing.script(request), streams.out())


def _set_shown(flags: list[str]) -> None:
    """Let this process, and those that it starts, show as much as the flags ask for."""
    for level, asked in ((QUIET, commandline.QUIET), (VERBOSE, commandline.VERBOSE)):
        if not {*asked}.isdisjoint(flags):
            os.environ[SHOWN] = level


def _show(entry: Callable[[], None]) -> None:
    """Let Hydra show something, without the secrets in it, such as the password of a search's storage."""
    shown = io.StringIO()
    try:
        with redirect_stdout(shown):
            entry()
    finally:
        if shown.getvalue():
            with suppress(BrokenPipeError):
                tell(strike(shown.getvalue()).rstrip("\n"), streams.out())


def _fail(message: str, code: int) -> None:
    tell(f"error: {message}", streams.err())
    sys.exit(code)


def command() -> None:
    """Run the command line as a process of its own."""
    as_process(main)


if __name__ == "__main__":
    command()
