"""Two models on the same prompts, as a table, figures and a sentence; the same for every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from notus_exp.inference.paired import Equivalence, McNemar, PairedComparison, equivalence, in_words, prompts_needed
from notus_exp.reporting.tables import Table, number, p_value, span


class Unit(NamedTuple):
    """What is compared: the unit of a difference and the independent unit, both in the plural."""

    difference: str
    sample: str


class PairedReport(NamedTuple):
    """A comparison's part of a report."""

    data: dict[str, Any]
    table: Table
    sentences: list[str]


def describe(
    names: tuple[str, str],
    comparison: PairedComparison,
    *,
    margins: Sequence[float],
    effect: float,
    unit: Unit,
    discordant: McNemar | None = None,
) -> PairedReport:
    """Describe a comparison of the first model minus the second.

    Args:
        names: Of both models.
        comparison: Of them.
        margins: Differences that would not matter, in the unit of the values.
        effect: Difference for which the prompts are counted, in the same unit.
        unit: Names of the units.
        discordant: McNemar's test, where there are wins and losses.
    """
    tests = [
        equivalence(comparison.difference, comparison.standard_error, comparison.units - 1, margin)
        for margin in margins
    ]
    needed = prompts_needed(comparison, effect)
    words = f"{names[0]} against {names[1]}: {in_words(comparison, tests, unit.difference)}"
    data = {
        "a": names[0],
        "b": names[1],
        **comparison._asdict(),
        "mcnemar": discordant,
        "equivalence": tests,
        "prompts_needed": needed,
        "words": words,
    }
    sentences = [words]
    if needed is not None:
        sentences.append(
            f"{effect:g} {unit.difference} would be seen with 80 % power on {needed.normal} {unit.sample} "
            f"({needed.t} by the t test)"
        )
    title = f"{names[0]} minus {names[1]}, in {unit.difference}"
    return PairedReport(data, Table(title, ["", "value"], _rows(comparison, discordant, tests, unit)), sentences)


def _rows(
    comparison: PairedComparison, discordant: McNemar | None, tests: Sequence[Equivalence], unit: Unit
) -> list[tuple[str, str]]:
    rows = [
        ("compared", str(comparison.n)),
        ("left out (a value is missing)", str(comparison.left_out)),
        (f"independent {unit.sample}", str(comparison.units)),
        ("difference", number(comparison.difference, 4)),
        ("standard error", number(comparison.standard_error, 4)),
        ("standard error if unpaired", number(comparison.standard_error_unpaired, 4)),
        ("correlation", number(comparison.correlation, 4)),
        ("95 % interval, normal", span(*comparison.interval_z, 4)),
        ("95 % interval, t", span(*comparison.interval_t, 4)),
        ("z", number(comparison.z, 4)),
        ("p, normal", p_value(comparison.p_z)),
        ("p, t", p_value(comparison.p_t)),
    ]
    if discordant is not None:
        rows.append(("won by the first alone, by the second alone", f"{discordant.a_only}, {discordant.b_only}"))
        rows.append(("p, exact McNemar", p_value(discordant.p)))
    return rows + [(f"p, not equivalent within {test.margin:g}", p_value(test.p)) for test in tests]
