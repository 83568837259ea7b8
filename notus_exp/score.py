"""The command `python -m notus_exp.score`: scores stored verdicts without any run.

The exit code is 2 after an error, also where a part of the file could not be scored though the rest was, unless
`--allow-refused` says that this is fine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.errors import UserError
from notus_exp.reporting.commands import Parser, answer, as_process, home, positive_numbers

if TYPE_CHECKING:
    from notus_exp.reporting.tables import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    commands = {"alpaca_eval": _alpaca_eval, "mt_bench": _mt_bench, "ifeval": _ifeval, "logprobs": _logprobs}
    return answer(
        lambda: commands[options.benchmark](options), as_json=options.json, allow_refused=options.allow_refused
    )


# Imports stand inside the functions, so that --help answers at once.
def _alpaca_eval(options: argparse.Namespace) -> Report:
    from notus_exp.external.score_alpaca_eval import AlpacaEvalOptions, report

    if options.a is None and options.lc_weights is None:
        raise UserError("score alpaca_eval needs a file of preferences", "give annotations.json, or FILE.csv:COLUMN")
    if options.paired and options.b is None:
        raise UserError("--paired needs a second file", "score alpaca_eval A.json B.json --paired")
    _check_margins("alpaca_eval/win_rate", options.margin)
    return report(
        options.a,
        options.b,
        AlpacaEvalOptions(
            options.margin,
            options.effect,
            options.leaderboard,
            options.difficulty,
            options.prompts,
            options.lc_weights,
            options.model,
            options.gamed,
        ),
    )


def _mt_bench(options: argparse.Namespace) -> Report:
    from notus_exp.external.score_mt_bench import report

    _check_margins("mt_bench/score", options.margin)
    return report(
        options.file,
        options.questions,
        tuple(options.paired) if options.paired else None,
        margins=options.margin,
        effect=options.effect,
        picture=options.radar,
    )


def _check_margins(metric: str, margins: Sequence[float]) -> None:
    from notus_exp.evaluation.metrics import check_margin

    for margin in margins:
        check_margin(metric, margin, "--margin")


def _ifeval(options: argparse.Namespace) -> Report:
    from notus_exp.external.score_ifeval import report

    return report(options.responses, options.prompts, options.exclude)


def _logprobs(options: argparse.Namespace) -> Report:
    from notus_exp.external.score_logprobs import report

    return report(options.file)


def _parser() -> argparse.ArgumentParser:
    shared = Parser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object; what is not known is null")
    shared.add_argument(
        "--allow-refused", action="store_true", help="exit with 0 though a part of the file could not be scored"
    )
    parser = Parser(prog="python -m notus_exp.score", description="Score stored verdicts.")
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    _add_alpaca_eval(commands.add_parser("alpaca_eval", parents=[shared], help="win rates, alone or of two models"))
    _add_mt_bench(commands.add_parser("mt_bench", parents=[shared], help="ratings of single-answer judgments"))
    ifeval = commands.add_parser("ifeval", parents=[shared], help="instructions that a program can check")
    ifeval.add_argument("responses", type=Path, metavar="RESPONSES", help="JSON lines: prompt, response")
    ifeval.add_argument(
        "prompts", type=Path, metavar="PROMPTS", help="JSON lines of IFEval; nltk_data may lie beside it"
    )
    ifeval.add_argument(
        "--exclude", type=positive_numbers(int), default=[], metavar="KEYS", help="keys to leave out: 1122,1129"
    )
    logprobs = commands.add_parser("logprobs", parents=[shared], help="derive stored preferences again")
    logprobs.add_argument("file", type=Path, metavar="FILE", help="JSON lines: switched, top_logprobs, preference")
    return parser


def _add_alpaca_eval(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "a", type=home, metavar="A", nargs="?", help="annotations.json, or FILE.csv:COLUMN; none with --lc-weights"
    )
    command.add_argument("b", type=home, metavar="B", nargs="?", help="a second model, compared prompt by prompt")
    command.add_argument("--paired", action="store_true", help="insist on the comparison: an error without B")
    _add_comparison(command, margins="3,2", effect=2.0, unit="points")
    command.add_argument(
        "--leaderboard", type=Path, metavar="FILE", help="a published leaderboard.csv to place A and B on"
    )
    command.add_argument(
        "--difficulty",
        type=Path,
        metavar="FILE",
        help="CSV: instruction_sha16 and difficulty, for length control",
    )
    command.add_argument(
        "--prompts", type=Path, metavar="FILE", help="CSV: index and instruction_sha16, for preferences by index"
    )
    command.add_argument(
        "--lc-weights",
        type=Path,
        metavar="FILE",
        help="published weights of length control, with --difficulty: held for A and B where it knows them; of --model",
    )
    command.add_argument("--model", metavar="NAME", help="predict this model of --lc-weights by its weights alone")
    command.add_argument(
        "--gamed",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="verdicts on the gamed baseline, for AlpacaEval's length control: its .csv, or twice an annotations.json",
    )


def _add_mt_bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="JSON lines: model, question_id, turn, score")
    command.add_argument("--questions", type=Path, metavar="FILE", help="question.jsonl: what is expected, categories")
    command.add_argument("--paired", nargs=2, metavar=("MODEL_A", "MODEL_B"), help="compare two models turn by turn")
    command.add_argument("--radar", type=Path, metavar="FILE", help="write a plot by category (.svg or .png)")
    _add_comparison(command, margins="0.5", effect=0.5, unit="points of the rating")


def _add_comparison(command: argparse.ArgumentParser, *, margins: str, effect: float, unit: str) -> None:
    command.add_argument(
        "--margin",
        type=positive_numbers(float),
        default=margins,
        help=f"differences that would not matter, in {unit}, with commas (default: %(default)s)",
    )
    command.add_argument(
        "--effect", type=_positive, default=effect, help=f"difference to have the power for, in {unit} (%(default)s)"
    )


def _positive(text: str) -> float:
    numbers: list[float] = positive_numbers(float)(text)
    if len(numbers) > 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not one positive number")
    return numbers[0]


if __name__ == "__main__":
    as_process(main)
