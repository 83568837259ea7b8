"""The command `python -m notus_exp.runs`: which runs there are, what one was, what sets two apart, what to read.

    python -m notus_exp.runs list
    python -m notus_exp.runs show RUN                   # its id, a part of it that no other has, or its folder
    python -m notus_exp.runs diff A B
    python -m notus_exp.runs pairs RUN --flips OTHER
    python -m notus_exp.runs feedback RUN               # writes feedback.html into its folder
    python -m notus_exp.runs rounds RUN                 # its rounds side by side, and rounds.html in its folder

The exit code is 2 after an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.disk import streams
from notus_exp.reporting.commands import Parser, answer, as_process, home

if TYPE_CHECKING:
    from notus_exp.reporting.tables import Report

_OUTPUTS = Path("outputs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    reports = {"list": _list, "show": _show, "diff": _diff, "pairs": _pairs, "feedback": _feedback, "rounds": _rounds}
    return answer(lambda: reports[options.command](options), as_json=options.json)


# Imports stand inside the functions, so that --help answers at once.
def _list(options: argparse.Namespace) -> Report:
    from notus_exp.browsing.listing import list_report
    from notus_exp.reporting.console import make_console

    return list_report(options.output_dir, options.metric, columns=make_console(streams.out()).width)


def _show(options: argparse.Namespace) -> Report:
    from notus_exp.browsing.finding import find_run
    from notus_exp.browsing.one_run import show_report

    return show_report(find_run(options.run, options.output_dir))


def _diff(options: argparse.Namespace) -> Report:
    from notus_exp.browsing.finding import find_run
    from notus_exp.browsing.two_runs import diff_report

    return diff_report(*(find_run(text, options.output_dir) for text in (options.a, options.b)))


def _pairs(options: argparse.Namespace) -> Report:
    from notus_exp.browsing.finding import find_run
    from notus_exp.browsing.pairs_to_read import Reading, flips_report, pairs_report

    reading = Reading(options.count, options.split, options.prompt, options.characters)
    run = find_run(options.run, options.output_dir)
    if options.flips is None:
        return pairs_report(run, reading)
    return flips_report(run, find_run(options.flips, options.output_dir), reading)


def _feedback(options: argparse.Namespace) -> Report:
    from notus_exp.browsing.finding import find_run
    from notus_exp.feedback_report.of_run import write_report
    from notus_exp.reporting.console import shorten
    from notus_exp.reporting.tables import Report

    run = find_run(options.run, options.output_dir)
    page = write_report(run.folder, run.record)
    return Report({"run": run.run_id, "page": str(page)}, sentences=[f"feedback: {shorten(page)}"])


def _rounds(options: argparse.Namespace) -> Report:
    from notus_exp.browsing.finding import find_run
    from notus_exp.reporting.console import shorten
    from notus_exp.rounds_report.each_round import each_round
    from notus_exp.rounds_report.rounds_page import write_rounds
    from notus_exp.rounds_report.rounds_told import rounds_report

    run = find_run(options.run, options.output_dir)
    rounds = each_round(run)
    report, page = rounds_report(run, rounds), write_rounds(run, rounds)
    report.data["page"] = str(page)
    report.sentences.append(f"rounds: {shorten(page)}")
    return report


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m notus_exp.runs", description="Runs: a list of them, one, two, and their pairs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    as_json = Parser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print one JSON object; what is not known is null")
    common = Parser(add_help=False, parents=[as_json])
    common.add_argument(
        "--output-dir", type=Path, default=_OUTPUTS, metavar="FOLDER", help="where the runs are (default: outputs)"
    )
    one = commands.add_parser("list", parents=[as_json], help="all runs: state, choices, first metrics, age, size")
    one.add_argument("output_dir", type=Path, nargs="?", default=_OUTPUTS, metavar="FOLDER", help="default: outputs")
    one.add_argument("--metric", action="append", default=[], metavar="NAME", help="show this one; may be repeated")
    show = commands.add_parser("show", parents=[common], help="one run: command, metrics, stages, notes, places")
    show.add_argument("run", metavar="RUN", type=home, help="a run's id, a part of it that no other has, or its folder")
    diff = commands.add_parser("diff", parents=[common], help="what differs between two runs, and by how much")
    diff.add_argument("a", metavar="A", type=home, help="as RUN of show")
    diff.add_argument("b", metavar="B", type=home, help="the run that A is subtracted from")
    feedback = commands.add_parser(
        "feedback", parents=[common], help="write feedback.html: who wrote it, rated it, agrees"
    )
    feedback.add_argument("run", metavar="RUN", type=home, help="as RUN of show")
    rounds = commands.add_parser("rounds", parents=[common], help="the rounds of a run side by side, also as a page")
    rounds.add_argument("run", metavar="RUN", type=home, help="as RUN of show")
    pairs = commands.add_parser("pairs", parents=[common], help="preference pairs to read")
    pairs.add_argument("run", metavar="RUN", type=home, help="as RUN of show")
    pairs.add_argument("--flips", metavar="OTHER", type=home, help="only pairs that are another in this run")
    pairs.add_argument("--count", type=_count, default=5, metavar="N", help="how many at most (default: %(default)s)")
    pairs.add_argument("--split", metavar="NAME", help="only those of train, validation or test")
    pairs.add_argument("--prompt", metavar="ID", help="only those of a prompt, by its id or the beginning of it")
    pairs.add_argument(
        "--characters",
        type=_count,
        default=600,
        metavar="N",
        help="of a text at most, 0 for all (default: %(default)s)",
    )
    return parser


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return number


if __name__ == "__main__":
    as_process(main)
