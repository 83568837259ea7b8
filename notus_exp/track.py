"""The command `python -m notus_exp.track`: a study in W&B, whoever made its runs and whether they were tracked or not.

The exit code is 2 after an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.reporting.commands import Parser, answer, as_process

if TYPE_CHECKING:
    from notus_exp.reporting.tables import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    return answer(lambda: _report(options), as_json=options.json)


def _report(options: argparse.Namespace) -> Report:
    from notus_exp.study.afterwards import track_afterwards  # not before --help has answered

    settings = {name: getattr(options, name) for name in ("project", "entity", "group", "mode")}
    return track_afterwards(options.study, settings, only_shown=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m notus_exp.track",
        description="Tell W&B of a study: every run or trial that it was not told of yet, what the study found, and,"
        " online, a workspace with its panels.",
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help="a study's folder: outputs/studies/NAME")
    parser.add_argument(
        "--mode",
        choices=("auto", "online", "offline"),
        help="auto: online where the environment holds WANDB_API_KEY (default: as the study's runs)",
    )
    parser.add_argument("--project", metavar="NAME", help="W&B's project (default: as the study's runs)")
    parser.add_argument("--entity", metavar="NAME", help="W&B's user or team (default: as the study's runs)")
    parser.add_argument("--group", metavar="NAME", help="W&B's group (default: as the study's runs)")
    parser.add_argument("--json", action="store_true", help="print the workspace as JSON, and tell W&B nothing")
    return parser


if __name__ == "__main__":
    as_process(main)
