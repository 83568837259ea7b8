"""The command `python -m notus_exp.chat`: a conversation with the base model and the policy of a run, side by side.

    python -m notus_exp.chat RUN                        # its id, a part of it that no other has, or its folder
    python -m notus_exp.chat RUN --temperature 0.7 --seed 1
    python -m notus_exp.chat RUN < prompts.txt

The exit code is 2 after an error, of a pipe also where a prompt got no answer, and 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.disk import streams
from notus_exp.disk.given import LARGEST
from notus_exp.errors import UserError, first_line
from notus_exp.reporting.commands import Parser, as_process, home
from notus_exp.reporting.texts import tell

if TYPE_CHECKING:
    from notus_exp.talking.models_of_run import ModelsOfRun
    from notus_exp.talking.terminal_talk import Talk

DEVICES = ("cpu", "cuda", "mps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    with streams.apart():
        try:
            talk = _begin(options)
        except UserError as error:
            tell(f"error: {error}", streams.err())
            return 2
        except OSError as error:
            tell(f"error: {first_line(error)}", streams.err())
            return 2
        from notus_exp.talking.terminal_talk import hold

        return hold(talk)


def command() -> None:
    """Run the command line as a process of its own."""
    as_process(main)


# Imports stand inside the functions, so that --help answers at once.
def _begin(options: argparse.Namespace) -> Talk:
    """Load the models and return the conversation, in which nothing was said yet.

    Raises:
        UserError: There is no such run, or it has no such model.
    """
    from notus_exp.browsing.finding import find_run
    from notus_exp.reporting.console import make_console
    from notus_exp.reporting.going_on import working
    from notus_exp.talking.models_of_run import models_of_run

    console = make_console(streams.err())
    with working(console, "looking at the run"):
        found = find_run(options.run, options.output_dir)
        found = found if options.round is None else found.round(options.round)
        models = models_of_run(found, with_policy=not options.base_only, device=options.device)
    if options.no_system or options.system is not None:
        models = models._replace(system_prompt=options.system)
    with working(console, "loading the models"):
        from notus_exp.talking.dialogue import Dialogue, Manner
        from notus_exp.talking.terminal_talk import Talk, in_words, piped_lines, typed_lines
        from notus_exp.talking.voices import load_voices

        voices = load_voices(models, with_base=not options.policy_only)
    manner = Manner(options.temperature, options.max_new_tokens, options.seed)
    typed = sys.stdin.isatty()
    if typed:
        tell(f"{' and '.join(voices)} of {models.run}: {_in_words(models, manner.temperature)}", streams.err())
        tell(in_words(), streams.err())
    told = {"run": models.run, "system": models.system_prompt}
    dialogue = Dialogue(voices, manner, fresh=options.fresh)
    return Talk(dialogue, told, typed_lines() if typed else piped_lines(), typed)


def _in_words(models: ModelsOfRun, temperature: float) -> str:
    system = {None: "no system turn", "": "an empty system turn"}.get(models.system_prompt, "a system turn")
    drawn = f"temperature {temperature:g}" if temperature else "greedy"
    return f"{drawn}, {system}, {models.precision} on {models.hardware.device.name}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m notus_exp.chat", description="A conversation with base model and policy of a run, side by side."
    )
    parser.add_argument(
        "run", metavar="RUN", type=home, help="a run's id, a part of it that no other has, or its folder"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="where the runs are (default: outputs)",
    )
    parser.add_argument(
        "--temperature", type=_temperature, default=0.0, metavar="T", help="0 is greedy (default: %(default)g)"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=_positive_count,
        default=512,
        metavar="N",
        help="of an answer, at most (default: %(default)s)",
    )
    parser.add_argument("--round", type=int, metavar="N", help="of a run of several rounds (default: the last)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: %(default)s)")
    system = parser.add_mutually_exclusive_group()
    system.add_argument(
        "--system", metavar="TEXT", help='the system turn; "" is an empty one (default: model.system_prompt of the run)'
    )
    system.add_argument("--no-system", action="store_true", help="no system turn")
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--base-only", action="store_true", help="talk with the base model alone")
    whom.add_argument("--policy-only", action="store_true", help="talk with the policy alone")
    parser.add_argument("--fresh", action="store_true", help="every prompt begins a conversation of its own")
    parser.add_argument(
        "--device", choices=DEVICES, help="where the models compute (default: as the run's hardware says)"
    )
    return parser


def _temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 0")
    return number


def _positive_count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= LARGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return number
