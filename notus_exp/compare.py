"""The command `python -m notus_exp.compare`: which arms of a study, or which models of a table, differ for real.

    python -m notus_exp.compare outputs/studies/mine                      # as planned: its files are written anew
    python -m notus_exp.compare outputs/studies/mine --baseline average   # a look: comparisons/baseline=average/

The exit code is 2 after an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.disk.given import usable
from notus_exp.errors import UserError
from notus_exp.reporting.commands import Parser, answer, as_process, positive_numbers

if TYPE_CHECKING:
    from notus_exp.reporting.tables import Report

_OF_STUDIES = ("metric", "output", "name")
_OF_VERDICTS = ("kind", "alpaca_eval", "scale", "clusters", "prompt_column", "models")
"""Options that only a study has, and only a table of verdicts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    return answer(lambda: _report(options), as_json=options.json)


def _report(options: argparse.Namespace) -> Report:
    _check(options)
    return _of_study(options) if options.verdicts is None else _of_verdicts(options)


# Imports stand inside the functions, so that --help answers at once.
def _of_study(options: argparse.Namespace) -> Report:
    from notus_exp.comparison.terminal import study_report
    from notus_exp.study.conclusion import place_of, write_outcome

    comparison = write_outcome(
        options.study,
        out=options.output,
        name=options.name,
        baseline=options.baseline,
        metric=options.metric,
        margin=options.margin[0] if options.margin else None,
    )
    out = options.output or place_of(options.study, comparison["study"], options.name)
    if comparison["study"]["kind"] == "search":
        from notus_exp.study.search.search_terminal import search_report

        return search_report(comparison, out)
    return study_report(comparison, out)


def _of_verdicts(options: argparse.Namespace) -> Report:
    from notus_exp.external.verdict_tables import VerdictOptions, report

    return report(
        options.verdicts,
        VerdictOptions(
            kind=options.kind,
            baseline=options.baseline,
            margins=tuple(options.margin or ()),
            alpaca_eval=options.alpaca_eval,
            scale=options.scale,
            clusters=options.clusters,
            prompt_column=options.prompt_column,
            models=tuple(options.models or ()),
        ),
    )


def _check(options: argparse.Namespace) -> None:
    """Refuse what does not fit together.

    Raises:
        UserError: Neither or both of a study and a table, or an option that belongs to the other.
    """
    if (options.study is None) == (options.verdicts is None):
        raise UserError(
            "compare needs a study's folder or --verdicts FILE, one of them",
            "python -m notus_exp.compare outputs/studies/mine",
        )
    others = _OF_VERDICTS if options.verdicts is None else _OF_STUDIES
    for name in others:
        if getattr(options, name) not in (None, False):
            only = "--verdicts FILE" if options.verdicts is None else "a study"
            raise UserError(f"--{name.replace('_', '-')} goes with {only} only", "leave it out")
    if options.output is not None and options.name is not None:
        raise UserError("--output and --name both say where the files go", "give one of them")
    if options.verdicts is None and len(options.margin or []) > 1:
        raise UserError("--margin: a study has one margin", "name the largest difference that would not matter")
    if options.alpaca_eval and options.scale is not None:
        raise UserError("--alpaca-eval makes points, which --scale would change", "leave one of them out")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m notus_exp.compare", description="Compare the arms of a study, or models by prompts."
    )
    parser.add_argument("study", type=Path, nargs="?", metavar="STUDY", help="a study's folder: outputs/studies/NAME")
    parser.add_argument("--baseline", metavar="NAME", help="the arm or model that the others are compared with")
    parser.add_argument(
        "--margin",
        type=positive_numbers(float),
        metavar="X",
        help="difference that would not matter, in the metric's unit; of a table also several: 3,2",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; what is not known is null")
    study = parser.add_argument_group("a study")
    study.add_argument("--metric", metavar="NAME", help="primary metric in the place of the study's")
    study.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the files go (default: the study's folder; with another baseline, metric or margin than the study"
        " named, STUDY/comparisons/NAME)",
    )
    study.add_argument("--name", metavar="NAME", help="of such a look afterwards (default: what was chosen)")
    table = parser.add_argument_group("a table that another tool made")
    table.add_argument("--verdicts", type=Path, metavar="FILE", help="CSV or parquet, of one of these kinds")
    table.add_argument(
        "--kind",
        choices=("wide", "long", "games"),
        help="wide: a column a model; long: model, prompt, value[, seed]; games: model_a, model_b, winner[, prompt]"
        " (default: what the columns say)",
    )
    table.add_argument(
        "--alpaca-eval", action="store_true", help="values are preferences, 1 to 2, draws 1.5 or 0: points 0 to 100"
    )
    table.add_argument("--scale", type=_scale, metavar="X", help="multiply the values: 100 makes points of shares")
    table.add_argument(
        "--clusters", metavar="COLUMN", help="unit that prompts belong to, such as the question of a turn"
    )
    table.add_argument(
        "--prompt-column", metavar="NAME", help="column that names the prompts (default: prompt_id, prompt, index, ...)"
    )
    table.add_argument(
        "--models", type=_names, metavar="A,B,...", help="of a wide table: these columns alone (default: all others)"
    )
    return parser


def _scale(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number == 0 or not usable(number):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number other than 0, such as 100")
    return number


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of different columns such as a,b")
    return names


if __name__ == "__main__":
    as_process(main)
