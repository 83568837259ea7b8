"""Tables and the numbers in them, as a terminal shows them."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from notus_exp.reporting.tables import Table, number, p_value, print_table, span, with_span
from notus_exp.run.display import StageRow, metrics_table, stages_table


def printed(table: Table, width: int = 100) -> list[str]:
    out = io.StringIO()
    print_table(table, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (0.126, 2, False, "0.13"),
        (0.126, 2, True, "+0.13"),
        (-0.126, 2, True, "-0.13"),
        (0.001, 2, True, "0.00"),
        (-0.001, 2, False, "0.00"),
        (None, 2, True, "-"),
        (math.nan, None, False, "-"),
        (math.inf, 4, False, "inf"),
        (1234.56, None, False, "1235"),
        (0.0001234, None, True, "+0.000123"),
    ],
)
def test_a_number_has_its_digits_and_a_sign_where_it_has_one(value, digits, sign, text):
    assert number(value, digits, sign=sign) == text


def test_an_interval_that_is_not_known_is_a_dash_and_leaves_its_value_alone():
    assert span(0.1, 0.25) == "0.10 to 0.25"
    assert span(None, 0.2) == span(0.1, math.nan) == "-"
    assert with_span({"value": 0.5, "low": 0.4, "high": 0.6}) == "0.50 [0.40 to 0.60]"
    assert with_span({"value": 0.1, "low": -0.1, "high": 0.3}, 1, sign=True) == "+0.1 [-0.1 to +0.3]"
    assert with_span({"value": 0.5, "low": None, "high": None}) == "0.50"
    assert with_span({"value": 1.8e-12, "low": 0.0, "high": 3e-12}, 3) == "1.8e-12 [0 to 3e-12]"
    assert with_span({"value": 0.0, "low": 0.0, "high": 0.0}, 3) == "0.000 [0.000 to 0.000]"
    assert with_span({"value": None, "low": None, "high": None}) == with_span(None) == "-"
    assert (p_value(None), p_value(math.nan), p_value(0.25), p_value(1e-7)) == ("-", "-", "0.2500", "1.0e-07")


def test_words_stand_left_and_numbers_right():
    lines = printed(Table("Title", ["name", "n", "why"], [["a", "1", "x"], ["long", "1000", "yy"]], left=("why",)))
    assert lines == ["Title", "name     n  why", "a        1  x", "long  1000  yy"]


def test_a_cell_is_text_and_nothing_of_it_is_lost_where_it_does_not_fit():
    path = "/outputs/" + "x" * 60 + "[bold]" + "y" * 30
    lines = printed(stages_table([StageRow("policy", "run", 12.34, path), StageRow("[red]", "run", None, "p")]), 50)
    assert lines[0] == "Stages"
    assert lines[1].split() == ["stage", "state", "seconds", "where"]
    assert "".join(line[22:].strip() for line in lines[2:-1]) == path
    assert lines[-1].split() == ["[red]", "run", "p"]


def test_a_runs_metrics_stand_beside_their_difference():
    def estimate(value: float, half: float) -> dict[str, float]:
        return {"value": value, "low": value - half, "high": value + half, "n": 40}

    name = "preferences/accuracy/average"
    metrics = {name: estimate(0.6, 0.1), f"base/{name}": estimate(0.5, 0.1), f"difference/{name}": estimate(0.1, 0.05)}
    assert printed(metrics_table(metrics), 160)[-1].split("  ") == [
        name, "0.50 [0.40 to 0.60]", "0.60 [0.50 to 0.70]", "+0.10 [+0.05 to +0.15]", "40", "higher"
    ]  # fmt: skip


def test_at_80_columns_a_runs_metrics_keep_every_number_whole_and_their_verdict():
    def estimate(value: float, low: float, high: float) -> dict[str, float]:
        return {"value": value, "low": low, "high": high, "n": 16}

    name = "preferences/accuracy/critique_repaired"
    metrics = {
        name: estimate(45.38, 40.45, 50.3),
        f"base/{name}": estimate(40.94, 32.78, 49.1),
        f"difference/{name}": estimate(4.44, -5.67, 14.54),
    }
    lines = printed(metrics_table(metrics), 80)
    assert lines == [
        "Metrics: mean [95 % interval]",
        "metric",
        "              base            policy  paired difference   n  verdict",
        name,
        "             40.94             45.38              +4.44  16  not distinguishable",
        "  [32.78 to 49.10]  [40.45 to 50.30]  [-5.67 to +14.54]",
    ]
    assert printed(metrics_table(metrics), 102)[-1].split("  ")[1:] == [
        "40.94 [32.78 to 49.10]", "45.38 [40.45 to 50.30]", "+4.44 [-5.67 to +14.54]", "16", "not distinguishable"
    ]  # fmt: skip


@pytest.mark.parametrize("width", [60, 44, 30])
def test_where_columns_do_not_fit_each_cell_has_a_line_and_no_number_or_word_is_broken(width: int):
    name = "verifiable/strict_average"
    values = ["0.170 [0.128 to 0.212]", "0.340 [0.297 to 0.383]", "-0.1708 [-0.4281 to 0.0512]", "0.0411", "16", "7"]
    columns = ["", "A", "B", "B minus A", "p", "prompts", "prompts that differ"]
    lines = printed(Table("Metrics: value [95 % interval]", columns, [[name, *values]]), width)
    assert lines[1] == name
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines[2:]).split()
    assert words == " ".join(f"{column}: {value}" for column, value in zip(columns[1:], values, strict=True)).split()


def test_a_long_title_is_not_broken_at_the_width_of_a_narrow_table():
    title = "a title of many more words than the table below is wide"
    assert printed(Table(title, ["a", "b"], [["x", "1"]]), 80)[0] == title
