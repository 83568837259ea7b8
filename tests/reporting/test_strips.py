"""Intervals in the cells of a table: all on one scale, every place a percentage that a reader can check."""

from __future__ import annotations

import re

from markupsafe import Markup

from notus_exp.reporting.looks import INK, Look
from notus_exp.reporting.pages import breakable, signed
from notus_exp.reporting.strips import Scale, axis, scale_of, strip
from support.pages import Page

LOOK = Look("#0072b2", "o", "-")


def row(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def test_the_scale_holds_every_end_the_origin_and_the_band() -> None:
    scale = scale_of([row(0.3, 0.2, 0.4), row(None)], band=0.1)
    assert (scale.low, round(scale.high, 9)) == (-0.125, 0.425), "from -0.1 to 0.4 and 5 % of that on either side"
    assert 0.0 in scale.ticks
    assert scale_of([row(60.0, 50.0, 70.0)], origin=None).low == 49.0
    assert scale_of([row(0.0)]).low < 0 < scale_of([row(0.0)]).high, "one value alone has room too"
    assert scale_of([]).low < scale_of([]).high


def test_places_are_shares_of_the_width() -> None:
    scale = Scale(-1.0, 1.0, [0.0, 0.5])
    assert [scale.place(value) for value in (-1.0, 0.0, 0.5, 1.0)] == ["0.00%", "50.00%", "75.00%", "100.00%"]
    drawn = strip(row(0.5, 0.0, 1.0), scale, LOOK, "half <more>")
    assert '<line x1="50.00%" x2="100.00%"' in drawn
    assert 'x="75.00%"' in drawn
    assert 'aria-label="half &lt;more&gt;"' in drawn
    assert Page(str(drawn)).wrong == []


def test_a_strip_without_a_value_has_only_the_lines_of_the_scale() -> None:
    assert "path" not in strip(row(None), Scale(-1.0, 1.0, [0.0]), LOOK, "none")


def test_a_hollow_marker_has_the_colour_of_the_page() -> None:
    scale = Scale(-1.0, 1.0, [])
    assert 'fill="#0072b2"' in strip(row(0.0), scale, LOOK, "full")
    assert 'fill="var(--page)"' in strip(row(0.0), scale, LOOK, "hollow", filled=False)
    assert INK not in strip(row(0.0), scale, Look(INK, "X", "-"), "in the ink of the page")


def test_numbers_of_a_scale_have_the_same_digits_and_keep_off_its_ends() -> None:
    drawn = axis(Scale(-0.2, 0.2, [-0.19, -0.15, 0.0, 0.1]))
    assert re.findall(r">([^<>]+)</text>", drawn) == ["−0.15", "0.00", "0.10"]


def test_long_names_break_between_their_words_alone() -> None:
    assert breakable("preferences/accuracy/average") == "preferences/<wbr>accuracy/<wbr>average"
    assert breakable("critique_repaired") == "critique_repaired"
    assert breakable("average_of_all_aspects") == "average_<wbr>of_<wbr>all_<wbr>aspects"
    assert breakable("a/name/that/is/<long>") == "a/<wbr>name/<wbr>that/<wbr>is/<wbr>&lt;long&gt;"
    assert breakable("dpo.learning_rate=0.00234") == "dpo.<wbr>learning_<wbr>rate=0.00234", "no number is broken"
    assert breakable("selection=average, and so on.") == "selection=average, and so on.", "short words stay whole"


def test_a_sign_stays_beside_the_name_that_it_is_of() -> None:
    assert signed("base model", Markup("*")) == '<span class="kept">*base</span> model'
    assert signed("a_very/long<name>", Markup("*")) == '<span class="kept">*a_very/long&lt;name&gt;</span>'
    assert signed("of_many_words/and_signs", Markup("*")).startswith('<span class="kept">*of_</span><wbr>many_')
    assert signed("x" * 50, Markup("*")) == f'<span class="kept">*</span>{"x" * 50}', "it may have to break after all"
