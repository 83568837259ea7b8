"""Values of expressions: computed by hand, per prompt, and missing where they are no number."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from notus_exp.config.column_names import BOOLEAN, NUMBER, TEXT
from notus_exp.config.curation_settings import TopTies
from notus_exp.config.language import Scope, read
from notus_exp.curation.formulas import FormulaValues, PromptColumns, evaluate
from notus_exp.curation.pairs import curate
from notus_exp.curation.scores import formula
from notus_exp.errors import UserError
from support.curation_tables import completion, prompt, settings, table, texts, world

ROWS = pl.DataFrame(
    {
        "group": [0, 0, 0, 0, 1, 1, 1, 2],
        "x": [1.0, 2, 3, 4, 5, 5, 5, 1],
        "y": [0.0, 1, 2, None, 0, 0, 1, 1],
        "model": ["gpt-4", "a", "b", "c", "d", "gpt", "g.t", "z"],
    }
)
SCOPE = Scope("selection.score", {"x": NUMBER, "y": NUMBER, "model": TEXT})


def value(text: str, wanted: str = NUMBER) -> FormulaValues:
    return evaluate(read(text, SCOPE, wanted), PromptColumns(lambda name: ROWS[name], ROWS["group"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", [1, 2, 3, 4, 5, 5, 5, 1]),
        ("2 * x - 1", [1, 3, 5, 7, 9, 9, 9, 1]),
        ("POWER(x, 2)", [1, 4, 9, 16, 25, 25, 25, 1]),
        ("x % 2", [1, 0, 1, 0, 1, 1, 1, 1]),
        ("AVG(x)", [2.5, 2.5, 2.5, 2.5, 5, 5, 5, 1]),
        ("SUM(y)", [3, 3, 3, 3, 1, 1, 1, 1]),
        ("MAX(x) - MIN(x)", [3, 3, 3, 3, 0, 0, 0, 0]),
        ("COUNT(y)", [3, 3, 3, 3, 3, 3, 3, 1]),
        ("MEDIAN(x)", [2.5, 2.5, 2.5, 2.5, 5, 5, 5, 1]),
        ("QUANTILE(x, 0.25)", [1.75, 1.75, 1.75, 1.75, 5, 5, 5, 1]),
        ("VARIANCE(x)", [5 / 3, 5 / 3, 5 / 3, 5 / 3, 0, 0, 0, None]),
        ("STDDEV_POP(x)", [1.25**0.5] * 4 + [0, 0, 0, 0]),
        ("RANK() OVER (ORDER BY x DESC)", [4, 3, 2, 1, 1, 1, 1, 1]),
        ("RANK() OVER (ORDER BY y)", [1, 2, 3, None, 1, 1, 3, 1]),
        ("DENSE_RANK() OVER (ORDER BY y)", [1, 2, 3, None, 1, 1, 2, 1]),
        ("PERCENT_RANK() OVER (ORDER BY x)", [0, 1 / 3, 2 / 3, 1, 0, 0, 0, 0]),
        ("MEAN_OF(x, y)", [0.5, 1.5, 2.5, 4, 2.5, 2.5, 3, 1]),
        ("WEIGHTED_MEAN_OF(x, 1, y, 2)", [1 / 3, 4 / 3, 7 / 3, 4, 5 / 3, 5 / 3, 7 / 3, 1]),
        ("STDDEV_OF(x, x + 2)", [2**0.5] * 8),
        ("GREATEST(y, 1)", [1, 1, 2, 1, 1, 1, 1, 1]),
        ("LEAST(x, y)", [0, 1, 2, 4, 0, 0, 1, 1]),
        ("COALESCE(y, -1)", [0, 1, 2, -1, 0, 0, 1, 1]),
        ("NULLIF(x, 5)", [1, 2, 3, 4, None, None, None, 1]),
        ("CASE WHEN y > 0 THEN x WHEN y = 0 THEN -x ELSE 9 END", [-1, 2, 3, 9, -5, -5, 5, 1]),
        ("IF(model LIKE 'g%', NULL, x)", [None, 2, 3, 4, 5, None, None, 1]),
        ("ROUND(x / 3, 1) + FLOOR(0.7) + CEIL(0.2) + SIGN(-x) + ABS(-1)", [1.3, 1.7, 2.0, 2.3, 2.7, 2.7, 2.7, 1.3]),
        ("SQRT(x) * SQRT(x)", [1, 2, 3, 4, 5, 5, 5, 1]),
        ("LN(EXP(x))", [1, 2, 3, 4, 5, 5, 5, 1]),
    ],
)
def test_numbers(text: str, expected: list[float | None]) -> None:
    assert value(text).values.to_list() == [None if one is None else float(f"{one:.12g}") for one in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x > 2 AND NOT y = 0", [False, False, True, None, False, False, True, False]),
        ("y > 0 OR x = 4", [False, True, True, True, False, False, True, True]),
        ("model IN ('a', 'b')", [False, True, True, False, False, False, False, False]),
        ("x NOT IN (1, 5)", [False, True, True, True, False, False, False, False]),
        ("x BETWEEN 2 AND 3", [False, True, True, False, False, False, False, False]),
        ("model LIKE 'g.t'", [False, False, False, False, False, False, True, False]),
        ("model ILIKE 'G_T%'", [True, False, False, False, False, True, True, False]),
        ("model NOT LIKE 'g%'", [False, True, True, True, True, False, False, True]),
        ("y IS NULL", [False, False, False, True, False, False, False, False]),
        ("x > AVG(x)", [False, False, True, True, False, False, False, False]),
        ("0.1 + 0.2 = 0.3", [True] * 8),
        ("NOT (x > 2) AND ((model) LIKE 'g%')", [True] + [False] * 7),
        ("1000000.1 + 0.2 - 1000000 - 0.3 = 0", [True] * 8),
        ("FLOOR((0.1 + 0.7) * 10) = 8", [True] * 8),
    ],
)
def test_conditions(text: str, expected: list[bool | None]) -> None:
    found = evaluate(read(text, SCOPE, BOOLEAN), PromptColumns(lambda name: ROWS[name], ROWS["group"]))
    assert found.values.to_list() == expected


@pytest.mark.parametrize(
    ("text", "wanted", "missing"),
    [
        ("x / y", NUMBER, {"division_by_zero": 3, "missing_input": 1}),
        ("x / y > 1", BOOLEAN, {"division_by_zero": 3, "missing_input": 1}),
        ("(x - AVG(x)) / STDDEV(x)", NUMBER, {"zero_by_zero": 4}),
        ("(x - AVG(x)) / STDDEV(x) > 5", BOOLEAN, {"zero_by_zero": 4}),
        ("LN(y)", NUMBER, {"out_of_range": 3, "missing_input": 1}),
        ("SQRT(-x) < 1", BOOLEAN, {"out_of_range": 8}),
        ("x * 1e308 * 10", NUMBER, {"out_of_range": 8}),
        ("COALESCE(x / y, 0)", NUMBER, {}),
        ("AVG(x / y)", NUMBER, {}),
    ],
)
def test_what_is_no_finite_number_is_missing_and_counted_by_its_cause(
    text: str, wanted: str, missing: dict[str, int]
) -> None:
    found = value(text, wanted)
    assert found.missing == missing
    assert found.values.null_count() == sum(missing.values())


def test_values_that_are_all_equal_have_no_spread_although_their_sum_is_rounded() -> None:
    rows = pl.DataFrame({"group": [0] * 3, "x": [0.1] * 3})
    for text in ("(x - AVG(x)) / STDDEV(x)", "(x - AVG(x)) / SQRT(VARIANCE(x))"):
        tree = read(text, Scope("s", {"x": NUMBER}), NUMBER)
        assert evaluate(tree, PromptColumns(lambda name: rows[name], rows["group"])).missing == {"zero_by_zero": 3}


def test_an_expression_chooses_and_a_completion_without_a_score_is_in_no_pair() -> None:
    frame = table(
        prompt(
            "p", completion("aaaa", 5, 0), completion("bb", 4, 2), completion("c c c", 1, 1), completion("d", 1, None)
        )
    )
    curated = curate(frame, settings("expression", score="helpfulness / honesty"))
    assert texts(curated.pairs) == [("bb", "c c c")]
    assert curated.pairs["margin"].to_list() == [1.0]
    assert curated.counts["completions_dropped"]["no_score"] == 2
    assert texts(curate(frame, settings("expression", score="chars")).pairs) == [("c c c", "d")]
    assert texts(curate(frame, settings("expression", score="words")).pairs)[0][0] == "c c c"
    assert texts(curate(frame, settings("expression", score="IF(model = 'model-1', 1, 0)")).pairs)[0][0] == "bb"


def test_a_score_that_leaves_no_pair_says_why() -> None:
    frame = table(prompt("p", completion("a", 5, 0), completion("b", 4, 0)))
    with pytest.raises(UserError, match=r"no_score took 2[\s\S]*division_by_zero 2"):
        curate(frame, settings("expression", score="helpfulness / honesty"))


def test_an_aspect_with_any_name_may_be_named_in_quotes() -> None:
    frame = table(prompt("p", completion("a", 1), completion("b", 2)), aspects=['in"struction-following'])
    found = formula('2 * "in""struction-following"', ['in"struction-following'])(frame)
    assert found.values.to_list() == [2.0, 4.0]


def test_a_prompt_with_one_rating_has_no_spread_for_any_of_its_completions() -> None:
    rows = pl.DataFrame({"group": [0, 0, 1, 1], "x": [3.0, None, None, None]}, schema_overrides={"x": pl.Float64})
    tree = read("(x - AVG(x)) / STDDEV(x)", Scope("s", {"x": NUMBER}), NUMBER)
    found = evaluate(tree, PromptColumns(lambda name: rows[name], rows["group"]))
    assert found.missing == {"zero_by_zero": 2, "missing_input": 2}


SCORES = ["(helpfulness - AVG(helpfulness)) / STDDEV(helpfulness) + honesty", "RANK() OVER (ORDER BY average)",
          "average / (honesty - 1)", "MEAN_OF(helpfulness, overall) - 0.1 * words", "MEDIAN(overall) - overall",
          "CASE WHEN chars > 5 THEN average ELSE QUANTILE(honesty, 0.3) END"]  # fmt: skip


@hypothesis_settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), score=st.sampled_from(SCORES), ties=st.sampled_from(TopTies))
def test_other_prompts_and_the_order_of_rows_move_nothing(seed: int, score: str, ties: TopTies) -> None:
    frame = world(24, seed)
    spec = settings("expression", "random", score=score, ties=ties, duplicate_responses=True)
    try:
        expected = curate(frame, spec)
    except UserError:
        return
    assert_frame_equal(curate(frame.sample(fraction=1.0, shuffle=True, seed=seed), spec).pairs, expected.pairs)
    more = pl.concat([world(10, seed + 1).with_columns(pl.col("row") + 100), frame])
    assert_frame_equal(curate(more, spec).pairs.filter(pl.col("row") < 100), expected.pairs)


@pytest.mark.parametrize(
    ("name", "options", "score"),
    [
        ("average", {}, "average"),
        ("critique", {}, "overall"),
        ("per_aspect", {"aspect": "honesty"}, "honesty"),
        (
            "weighted",
            {"weights": {"helpfulness": 0.1, "honesty": 0.7}},
            "WEIGHTED_MEAN_OF(helpfulness, 0.1, honesty, 0.7)",
        ),
    ],
)
def test_the_rules_of_before_are_these_expressions(name: str, options: dict[str, object], score: str) -> None:
    frame = world(60, 5)
    expected = curate(frame, settings(name, "random", **options)).pairs  # type: ignore[arg-type]
    assert_frame_equal(curate(frame, settings("expression", "random", score=score)).pairs, expected, check_exact=True)


PIECES = [
    *("x", "y", "model", "1", "0", "2.5", ".", "'a'", "+", "-", "*", "/", "%", "(", ")", ",", "=", "<>", ">", "AND"),
    *("NOT", "IS NULL", "IN (1, 2)", "LIKE 'g%'", "CASE WHEN", "THEN", "ELSE", "END", "NULL", "TRUE", "AVG(", "LN("),
    *("STDDEV(", "RANK() OVER (ORDER BY x)", "OVER ()", "MEAN_OF(", "IF(", "COALESCE(", "SELECT", "--", "::", "["),
    *("{", "$1", ";", "\\", "UNNEST(", "CAST(", "->", ":=", "?", "^", "||", "AS", "INTERVAL", "FILTER", "DISTINCT"),
    *('"x"', "`"),
]


@hypothesis_settings(max_examples=150, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=9), wanted=st.sampled_from([NUMBER, BOOLEAN]))
def test_any_text_is_refused_with_one_error_or_has_values_that_are_finite_or_missing(
    pieces: list[str], wanted: str
) -> None:
    try:
        found = value(" ".join(pieces), wanted)
    except UserError:
        return
    assert found.values.dtype == (pl.Float64 if wanted == NUMBER else pl.Boolean)
    assert found.values.null_count() == sum(found.missing.values())
    assert wanted == BOOLEAN or found.values.drop_nulls().is_finite().all()


@pytest.mark.parametrize("text", ["CASE WHEN {} > 1 THEN 2 ELSE x END", "IF({} IN (1, 2), 2, x)", "NULLIF({}, 9)",
                                  "IF({} BETWEEN 1 AND 2, 2, x)", "-({} + 1)", "MEAN_OF({}, y)"])  # fmt: skip
def test_what_is_nested_deep_is_read_once(text: str) -> None:
    nested, seen = "x", []
    for _ in range(14):
        nested = text.format(f"({nested})" if not text.startswith("-") else nested)

    def column(name: str) -> pl.Series:
        seen.append(name)
        return ROWS[name]

    evaluate(read(nested, SCOPE, NUMBER), PromptColumns(column, ROWS["group"]))
    assert len(seen) <= nested.count("x") + nested.count("y")
