"""One rule of rounding: a number equals itself however it is computed, on any scale, and noise decides nothing."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from notus_exp.config.column_names import BOOLEAN, NUMBER
from notus_exp.config.language import Scope, read
from notus_exp.curation.formulas import PromptColumns, evaluate
from notus_exp.curation.pairs import curate
from notus_exp.curation.rounding import settled, significant
from support.curation_tables import completion, prompt, settings, table, texts

ASPECTS = ["a", "b", "c"]
ALIKE = [
    "x = x + 0", "x * 3 = x + x + x", "x / 3 + y / 3 = (x + y) / 3", "x - y + y = x", "x = 1 * x / 1", "x <= MAX(x)",
    "(x + y) / 3 BETWEEN x / 3 + y / 3 AND x / 3 + y / 3", "x - y = -(y - x)", "x IN (x + 0, 1)", "NOT x <> x + 0",
    "NULLIF(x, x * 7 / 7) IS NULL", "x = x / 3 * 3", "SIGN(x / 3 + y / 3 - (x + y) / 3) = 0", "MIN(x) <= x",
    "x - (x - y) - y = 0", "AVG(x) * COUNT(x) = SUM(x)", "STDDEV_OF(x, x + y - y) = 0", "NOT x < x + 0",
    "STDDEV(1 + 0 * x) = 0", "x + y > AVG(x) OR x + y <= AVG(x)",
]  # fmt: skip
NUMBERS = st.integers(1, 99_999).map(lambda number: number / 1000)


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    xs=st.lists(NUMBERS, min_size=3, max_size=6),
    ys=st.lists(NUMBERS, min_size=6, max_size=6),
    power=st.integers(-250, 250),
    thirds=st.booleans(),
)
def test_a_number_equals_itself_however_it_is_computed_on_every_scale(
    xs: list[float], ys: list[float], power: int, thirds: bool
) -> None:
    scale = 10.0**power / (3 if thirds else 1)
    rows = pl.DataFrame({"g": [0] * len(xs), "x": [x * scale for x in xs], "y": [y * scale for y in ys[: len(xs)]]})
    scope = Scope("filters.where", {"x": NUMBER, "y": NUMBER})
    for text in ALIKE:
        found = evaluate(read(text, scope, BOOLEAN), PromptColumns(lambda name: rows[name], rows["g"])).values
        assert found.all(), (text, rows)
    for text in ("x = MAX(x)", "x = MIN(x)", "RANK() OVER (ORDER BY x) = 1", "x + y - y = MIN(x)"):
        found = evaluate(read(text, scope, BOOLEAN), PromptColumns(lambda name: rows[name], rows["g"])).values
        extreme = max(xs) if "MAX" in text else min(xs)
        assert found.to_list() == [x == extreme for x in xs], (text, rows)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_twelve_digits_count_of_any_number(number: float) -> None:
    found = significant(pl.Series([number, None, 0.0]))
    assert found.to_list()[1:] == [None, 0.0]
    assert math.isclose(found[0], number, rel_tol=6e-12)
    assert significant(found).to_list() == found.to_list()
    if 1e-280 < abs(number) < 1e300:
        assert math.isclose(found[0], float(f"{number:.12g}"), rel_tol=2e-12)
    assert settled(pl.Series([number * 1e-16]), pl.Series([abs(number)]))[0] == 0 or abs(number) < 1e-270


def rated(count: int = 40) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    made = []
    for number in range(count):
        ratings = draw.integers(1, 6, (4, 3)).tolist()
        ratings[1] = [1, 1, ratings[0][0] % 2 + 2]
        made.append(prompt(f"p{number}", *(completion(f"r{k}", *map(float, one)) for k, one in enumerate(ratings))))
    return table(*made, aspects=ASPECTS)


@pytest.mark.parametrize("where", ["chosen_average = MAX(average)", "chosen_average >= MAX(average)",
                                   "chosen_average = chosen_score", "margin = chosen_average - rejected_average",
                                   "chosen_score = MAX(score)", "margin > 0.3333333333"])  # fmt: skip
def test_the_best_is_the_best_in_a_condition_too(where: str) -> None:
    every = curate(rated(), settings("average", aspects=ASPECTS)).pairs
    assert curate(rated(), settings("average", aspects=ASPECTS, where=where)).pairs.height == every.height


@hypothesis_settings(max_examples=20, deadline=None)
@given(
    place=st.sampled_from(["quantile(0.25)", "median", "mean_minus(1)", "mean_plus(0.5)", "quantile(0.1)", "lowest"]),
    scale=st.sampled_from(["/ 3", "* 1e-9", "* 1e9 / 7", "* 0.1", "* 1e-100", "* 1e100"]),
    side=st.sampled_from(["rejected", "chosen"]),
    most=st.sampled_from(["1", "2"]),
)
def test_a_scaled_score_is_the_same_curation(place: str, scale: str, side: str, most: str) -> None:
    places = {"rejected_place": place} if side == "rejected" else {"place": place, "rejected_place": "random"}

    def pairs(score: str) -> list[tuple[str, str]]:
        spec = settings("expression", "expression", aspects=ASPECTS, score=score, strictly_worse=False,
                        per_prompt=most, **places)  # type: ignore[arg-type]  # fmt: skip
        return texts(curate(rated(), spec).pairs)

    assert pairs(f"(a + b + c) {scale}") == pairs("a + b + c")


@pytest.mark.parametrize("weight", ["1e-10 * (margin + 1)", "1e-150 * (margin + 1)", "(margin + 1) * 1e150"])
def test_scaled_weights_are_the_same_weights(weight: str) -> None:
    found = curate(rated(), settings("average", aspects=ASPECTS, weight=weight)).pairs
    expected = curate(rated(), settings("average", aspects=ASPECTS, weight="margin + 1")).pairs
    assert_frame_equal(found, expected, rel_tol=1e-11)
