"""The command `python -m notus_exp.export`: hands a run over, its pairs, its policy, or its recipe for another trainer.

    python -m notus_exp.export RUN --to FOLDER --format trl
    python -m notus_exp.export STUDY --arm average --to FOLDER --format h4 --merge --push hub:NAME

The exit code is 2 after an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.errors import UserError
from notus_exp.reporting.commands import Parser, answer, as_process, home

if TYPE_CHECKING:
    from notus_exp.reporting.tables import Report

FORMATS = ("openbmb", "argilla", "h4", "trl", "parquet", "axolotl", "llama_factory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    return answer(lambda: _report(options), as_json=options.json, what="writing the export")


def _report(options: argparse.Namespace) -> Report:
    from notus_exp.exporting.handing_over import ExportRequest, export  # not before --help has answered
    from notus_exp.run.outcome import disk_failure

    request = ExportRequest(
        what=options.what,
        to=options.to,
        form=options.format,
        outputs=options.output_dir,
        arm=options.arm,
        seed=options.seed,
        data_only=options.data_only,
        merge=options.merge,
        base=options.base,
        push=options.push,
        public=options.public,
        round=options.round,
    )
    try:
        return export(request)
    except Exception as error:
        failure = disk_failure(error, str(options.to.absolute().parent))
        if failure is None:
            raise
        told = failure.message.replace("output_dir=", "--to ")
        raise UserError(told, "free some space there, or give another --to FOLDER; nothing was left") from error


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m notus_exp.export",
        description="Hand a run over: its pairs in a layout of others with a card, its policy, or its recipe as a"
        " config of another trainer.",
    )
    parser.add_argument(
        "what",
        type=home,
        metavar="RUN_OR_STUDY",
        help="a run's id or its folder; a study's name or folder",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where it goes; must not be there yet")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        required=True,
        help="openbmb: all completions, nested; argilla, h4, trl, parquet: the pairs; axolotl, llama_factory: the pairs"
        " and a config that trains the same recipe",
    )
    parser.add_argument(
        "--arm", metavar="NAME", help="of a study (default: the arm that its verdict calls the best one, if it does)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the arm (default: the lowest that is finished)")
    parser.add_argument("--round", type=int, metavar="N", help="of a run of several rounds (default: the last)")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="where runs are (default: outputs)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; what is not known is null")
    policy = parser.add_argument_group("the policy, which is handed over where the run has one")
    policy.add_argument("--merge", action="store_true", help="full weights: the adapter merged, in float32")
    policy.add_argument(
        "--base", metavar="hub:ORG/NAME@COMMIT", help="where the base is on the hub, if the run had it from elsewhere"
    )
    policy.add_argument("--data-only", action="store_true", help="leave the policy out")
    hub = parser.add_argument_group("the hub; the token is HF_TOKEN of the environment")
    hub.add_argument("--push", metavar="hub:NAME", help="write the data and the policy to repositories of that name")
    hub.add_argument("--public", action="store_true", help="everybody may see them (default: private)")
    return parser


if __name__ == "__main__":
    as_process(main)
