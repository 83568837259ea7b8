"""The command `python -m notus_exp.artifacts`: what lies below an output folder, whether it is intact, what can go.

    python -m notus_exp.artifacts list
    python -m notus_exp.artifacts verify
    python -m notus_exp.artifacts prune          # shows what would go; prune --yes removes it

What is not an artifact is left alone, and so are files that were moved out of artifacts, unless prune is told
--set-aside.

The exit code is 1 where `verify` finds damage, and 2 after an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.disk import streams
from notus_exp.reporting.commands import Parser, answer, as_process

if TYPE_CHECKING:
    from notus_exp.disk.inventory import Entry, Verified
    from notus_exp.reporting.tables import Report, Table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    damaged: list[str] = []
    reports = {"list": _list, "verify": lambda given: _verify(given, damaged), "prune": _prune}
    what = None if options.command == "verify" else "looking through the folder"
    code = answer(lambda: reports[options.command](options), as_json=options.json, what=what)
    return code or (1 if damaged else 0)


# Imports stand inside the functions, so that --help answers at once.
def _list(options: argparse.Namespace) -> Report:
    from notus_exp.disk.inventory import NO_ARTIFACT, entries, removable, size_in_words
    from notus_exp.reporting.tables import Report

    found = entries(options.output_dir)
    free = removable(found)
    artifacts = [entry for entry in found if entry.state != NO_ARTIFACT]
    sentences = [f"{len(artifacts)} artifacts, {size_in_words(sum(entry.size for entry in artifacts))}"]
    if free:
        total = size_in_words(sum(entry.size for entry in free))
        sentences.append(f"no run refers to {len(free)} of them, {total}: prune removes those")
    sentences += _left_alone(found)
    return Report({"artifacts": found}, [_table("Artifacts", found)], sentences)


def _verify(options: argparse.Namespace, damaged: list[str]) -> Report:
    from notus_exp.disk.inventory import size_in_words, verify
    from notus_exp.reporting.console import make_console
    from notus_exp.reporting.going_on import working
    from notus_exp.reporting.tables import Report, Table

    with working(make_console(streams.err()), "reading artifacts") as move:
        found = verify(options.output_dir, move)
    damaged += [one.name for one in found if one.damage]
    since = [one for one in found if one.since]
    rows = [[one.name, size_in_words(one.size), _state(one)] for one in found]
    read = sum(one.artifact for one in found)
    sentences = [f"{read} artifacts read whole: {read - len(damaged)} intact, {len(damaged)} damaged"]
    if since:
        sentences.append(f"{len(since)} were made without hashes: damage before the time shown cannot be seen")
    for one in found:
        if one.damage:
            who = f"the command of {one.runs[0]}" if one.runs else "a run that needs it"
            sentences.append(f"{one.name}: {who} makes it anew")
    return Report({"artifacts": found}, [Table("Contents", ["artifact", "size", "state"], rows, ("state",))], sentences)


def _state(one: Verified) -> str:
    if not one.artifact:
        return "not an artifact, left alone"
    return one.damage or ("intact" if not one.since else f"as it was at {one.since}")


def _left_alone(found: Sequence[Entry], *, moved_out: bool = False) -> list[str]:
    """Say what pruning leaves alone, as it is not known to be nobody's."""
    from notus_exp.disk.inventory import MOVED_OUT, NO_ARTIFACT

    said = [f"{entry.name} is not an artifact, and is left alone" for entry in found if entry.state == NO_ARTIFACT]
    for entry in found if not moved_out else []:
        if entry.state == MOVED_OUT:
            said.append(
                f"{entry.name} holds files of yours or of another program, which no stage wrote: they are left alone;"
                " prune --set-aside removes them"
            )
    return said


def _prune(options: argparse.Namespace) -> Report:
    from notus_exp.disk.inventory import entries, prune, removable, size_in_words
    from notus_exp.reporting.tables import Report

    moved_out: bool = options.set_aside
    lying = entries(options.output_dir)
    found = prune(options.output_dir, moved_out=moved_out) if options.yes else removable(lying, moved_out=moved_out)
    total = f"{len(found)} artifacts, {size_in_words(sum(entry.size for entry in found))}"
    sentence = f"removed: {total}" if options.yes else f"would be removed: {total}; nothing was. Add --yes to do it"
    if not found:
        sentence = "nothing to remove: runs refer to every artifact that is there"
    title = "Removed" if options.yes else "No run refers to"
    data = {"removed": found if options.yes else [], "removable": [] if options.yes else found}
    sentences = [sentence, *_left_alone(lying, moved_out=moved_out)]
    goes = "was" if options.yes else "would be"
    sentences += [
        f"{entry.name} is a link: that {goes} removed, and not what it points to" for entry in found if entry.link
    ]
    return Report(data, [_table(title, found)] if found else [], sentences)


def _table(title: str, found: Sequence[Entry]) -> Table:
    from notus_exp.disk.inventory import age_in_words, size_in_words
    from notus_exp.reporting.tables import Table

    rows = [
        [entry.name, entry.state, size_in_words(entry.size), age_in_words(entry.made), _runs(entry)] for entry in found
    ]
    return Table(title, ["artifact", "state", "size", "age", "used by"], rows, ("state", "used by"))


def _runs(entry: Entry) -> str:
    named = entry.runs[0] if entry.runs else ""
    more = f" and {len(entry.runs) - 1} more" if len(entry.runs) > 1 else ""
    return f"{named}{more}" or ("a run in progress" if entry.used else "none")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m notus_exp.artifacts", description="What lies below an output folder.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = Parser(add_help=False)
    common.add_argument(
        "output_dir", type=Path, nargs="?", default=Path("outputs"), metavar="FOLDER", help="default: outputs"
    )
    common.add_argument("--json", action="store_true", help="print one JSON object")
    commands.add_parser("list", parents=[common], help="sizes, ages, and which runs use what")
    commands.add_parser("verify", parents=[common], help="read everything and compare it with what was written")
    prune = commands.add_parser("prune", parents=[common], help="remove what no run refers to")
    prune.add_argument(
        "--set-aside", action="store_true", help="also files that were moved out of artifacts: no stage wrote them"
    )
    prune.add_argument("--yes", action="store_true", help="remove it; without this it is only shown")
    return parser


if __name__ == "__main__":
    as_process(main)
