"""The command `python -m notus_exp.power`: what a study of so many prompts and seeds can see.

    python -m notus_exp.power --pilot outputs/studies/mine --effect 0.02
    python -m notus_exp.power --prompt-sd 0.4 --seed-sd 0.01 --residual-sd 0.3 --effect 0.02 --prompts 400,800

All numbers are in the unit of the metric, and variances are those of a contrast (the paired difference of two arms).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from notus_exp.disk.given import LARGEST
from notus_exp.errors import UserError
from notus_exp.reporting.commands import Number, Parser, answer, as_process

if TYPE_CHECKING:
    from notus_exp.reporting.planning import Source
    from notus_exp.reporting.tables import Report

_DEVIATIONS = ("prompt_sd", "seed_sd", "residual_sd")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    return answer(lambda: _report(options), as_json=options.json)


# Imports stand inside the functions, so that --help answers at once.
def _report(options: argparse.Namespace) -> Report:
    from notus_exp.reporting.planning import PowerQuestion, report

    question = PowerQuestion(options.effect, options.prompts, options.seeds, options.power, _family(options))
    return report(_sources(options), question)


def _family(options: argparse.Namespace) -> int:
    """Return the size of the family: as given, or the pilot's primary contrasts, whichever of them are asked for."""
    from notus_exp.reporting.pilot import family_size

    given: int | None = options.contrasts
    if given is not None:
        return given
    return 1 if options.pilot is None else family_size(options.pilot)


def _sources(options: argparse.Namespace) -> dict[str, Source]:
    """Return the variances of each contrast by its name: by hand, of the pilot, or of the pilot where none is given."""
    from notus_exp.inference.crossed import Components
    from notus_exp.reporting.pilot import completed, read_pilot, seed_bound
    from notus_exp.reporting.planning import Source

    deviations = [getattr(options, name) for name in _DEVIATIONS]
    given = Components(*(math.nan if deviation is None else deviation**2 for deviation in deviations))
    if options.pilot is not None:
        pilots = read_pilot(options.pilot, metric=options.metric, arm=options.arm, reference=options.reference)
        return {
            f"{one.metric}: {one.arm} minus {one.reference}": Source(
                completed(one, given),
                seed_bound(one, given),
                one.differing_share,
                _largest(one.metric, one.reference, options.pilot),
                one.prompts,
            )
            for one in pilots
        }
    missing = [_option(name) for name in _DEVIATIONS if getattr(options, name) is None]
    if missing:
        raise UserError(
            f"power needs a pilot study or all three deviations; not given: {', '.join(missing)}",
            f"--pilot outputs/studies/NAME, or {', '.join(map(_option, _DEVIATIONS))}",
        )
    return {"the given deviations": Source(given)}


def _largest(metric: str, reference: str, pilot: Path) -> float | None:
    """Return the largest difference that a metric can have; None where there is none, or no evaluation reports it.

    Args:
        metric: Its name.
        reference: What the arm is compared with.
        pilot: The pilot's folder: the settings of its runs may say where the metric ends.
    """
    from notus_exp.contracts.comparison_file import BASE_MODEL
    from notus_exp.evaluation.catalogue import CATALOGUE
    from notus_exp.evaluation.metrics import metric_of

    evaluation, found = metric.partition("/")[0], metric_of(metric)
    if evaluation not in CATALOGUE:
        return None
    if found.ends_at:
        from notus_exp.reporting.pilot import largest_setting

        return largest_setting(pilot, evaluation, found.ends_at)
    ends = found.difference_span(base=reference == BASE_MODEL)
    return None if ends is None else max(map(abs, ends))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m notus_exp.power", description="What a study of so many prompts and seeds can see.")
    pilot = parser.add_argument_group("a pilot study, whose variances are taken")
    pilot.add_argument(
        "--pilot",
        type=Path,
        metavar="STUDY",
        help="outputs/studies/NAME: what it planned; a look afterwards is STUDY/comparisons/NAME",
    )
    pilot.add_argument("--metric", help="its contrasts instead of those of the primary metric")
    pilot.add_argument("--arm", help="only its contrasts of this arm")
    pilot.add_argument("--reference", help="only its contrasts with this arm")
    spread = parser.add_argument_group("deviations of a paired difference of two arms, instead of the pilot's")
    number = _numbers(float, 0)
    spread.add_argument("--prompt-sd", type=_one(number), metavar="SD", help="between prompts, over very many seeds")
    spread.add_argument("--seed-sd", type=_one(number), metavar="SD", help="between seeds, over very many prompts")
    spread.add_argument("--residual-sd", type=_one(number), metavar="SD", help="of what neither explains")
    plan = parser.add_argument_group("what is planned")
    plan.add_argument(
        "--effect", type=_one(_numbers(float, 1e-300)), help="difference to be seen, in the unit of the metric"
    )
    plan.add_argument(
        "--prompts", type=_numbers(int, 2), default="100,200,400,800,1600", help="with commas (default: %(default)s)"
    )
    plan.add_argument(
        "--seeds", type=_numbers(int, 1), default="1,2,3,5,8,10", help="with commas (default: %(default)s)"
    )
    plan.add_argument("--power", type=_share, default=0.8, help="chance to see the effect (default: %(default)s)")
    plan.add_argument(
        "--contrasts",
        type=_one(_numbers(int, 1)),
        metavar="N",
        help="size of the family: each is tested at 0.05 / N (default: the pilot's primary contrasts; 1 without one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; what is not known is null")
    return parser


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _numbers(kind: Callable[[str], Number], least: float) -> Callable[[str], list[Number]]:
    def parse(text: str) -> list[Number]:
        try:
            numbers = [kind(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(least <= number <= LARGEST for number in numbers):
            what = "whole numbers" if kind is int else "numbers"
            raise argparse.ArgumentTypeError(
                f"'{text}' is no list of {what} from {least:g} to {LARGEST:g}, such as 3,5"
            )
        return numbers

    return parse


def _one(parse: Callable[[str], list[Number]]) -> Callable[[str], Number]:
    def parse_one(text: str) -> Number:
        numbers = parse(text)
        if len(numbers) > 1:
            raise argparse.ArgumentTypeError(f"'{text}' is more than one number")
        return numbers[0]

    return parse_one


def _share(text: str) -> float:
    number: float = _one(_numbers(float, 0))(text)
    if not 0.05 < number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0.05 and 1")
    return number


if __name__ == "__main__":
    as_process(main)
