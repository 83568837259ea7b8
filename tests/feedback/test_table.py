import hashlib
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.errors import UserError
from notus_exp.feedback.table import Row, RowError, build, check, check_columns, number, optional_text, required_text
from notus_exp.feedback.table import schema as table_schema


@pytest.mark.parametrize(("value", "expected"), [("5", 5.0), (5, 5.0), (5.0, 5.0), (" 4.5 ", 4.5), ("-1e1", -10.0)])
def test_a_rating_is_a_number_or_its_text(value, expected):
    assert number(value, "Rating") == expected


@pytest.mark.parametrize("value", [None, "", " ", "N/A", "n/a", " N/A ", math.nan, "NaN"])
def test_a_rating_that_was_not_given_is_null(value):
    assert number(value, "Rating") is None


@pytest.mark.parametrize(
    "value",
    ["five", "5/5", "inf", "1_0", "٥", math.inf, -math.inf, 10**400, 1e308, "1e999", -1.1e9, True, False, [5], {}],
)
def test_any_other_rating_is_malformed_and_named(value):
    with pytest.raises(RowError, match=r"Rating is .*not a usable number") as error:
        number(value, "Rating")
    assert error.value.rule == "unusable_number"


def test_nan_is_a_text_that_was_not_given():
    assert optional_text(math.nan, "model") == ""
    with pytest.raises(RowError, match="response is missing"):
        required_text(math.nan, "response")


@given(st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9))
def test_a_number_and_its_text_are_the_same_rating(value):
    assert number(str(value), "Rating") == number(value, "Rating") == float(value)


@given(st.text())
def test_a_text_is_a_finite_number_or_null_or_malformed(text):
    try:
        value = number(text, "Rating")
    except RowError:
        assert text.strip().lower() not in ("", "n/a")
    else:
        assert value is None or math.isfinite(value)


def test_texts_are_required_optional_or_malformed():
    assert (optional_text(None, "x"), optional_text("ä", "x"), required_text("", "x")) == ("", "ä", "")
    for value, reason in [(None, "missing"), (5, "expected text"), ("\ud83d", "surrogate"), (" ", "empty")]:
        with pytest.raises(RowError, match=reason):
            required_text(value, "x", filled=True)


def test_build_gives_the_contracts_columns_in_order_sorted_by_row_and_completion():
    rows = [
        Row(3, 1, "ask", "b", ratings=(None, 2.0), overall_score=None),
        Row(0, 0, "other", "c", source="s", model="m", ratings=(1.0, 1.0), overall_score=7.5, critique="good"),
        Row(3, 0, "ask", "a", ratings=(5.0, 4.0), overall_score=1.0),
    ]
    table = build(rows, ["helpfulness", "honesty"])
    assert table.columns == [
        "prompt_id", "row", "source", "instruction", "completion", "model", "principle", "system_prompt", "response",
        "rating_helpfulness", "rating_honesty", "overall_score", "critique",
    ]  # fmt: skip
    assert table["response"].to_list() == ["c", "a", "b"]
    assert table["rating_helpfulness"].to_list() == [1.0, 5.0, None]
    assert table["overall_score"].to_list() == [7.5, 1.0, None]
    ids = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("other", "ask", "ask")]
    assert table["prompt_id"].to_list() == ids
    check(table, ["helpfulness", "honesty"])


def test_build_of_nothing_has_the_same_columns():
    table = build([], ["a"])
    assert dict(table.schema) == table_schema(["a"]) and table.is_empty()


def test_check_refuses_what_breaks_the_contract():
    table = build([Row(0, 0, "ask", "a", ratings=(1.0,)), Row(0, 1, "ask", "b", ratings=(1.0,))], ["a"])
    check(table.with_columns(latent_quality=pl.lit(0.5)), ["a"])
    broken = {
        "columns": table.drop("critique"),
        "nulls": table.with_columns(response=pl.lit(None, pl.String)),
        "same": table.with_columns(completion=pl.lit(0, pl.Int64)),
        "hash": table.with_columns(instruction=pl.lit("another")),
    }
    for word, wrong in broken.items():
        with pytest.raises(ValueError, match=word):
            check(wrong, ["a"])


def test_a_missing_column_names_the_key_the_nearest_column_and_those_found():
    with pytest.raises(UserError, match=r"data\.prompt_column='promt'") as error:
        check_columns({"promt": "data.prompt_column", "response": "data.response_column"}, {"prompt", "response"})
    assert error.value.hint == "did you mean 'prompt'? columns found: prompt, response"


def test_columns_are_not_judged_where_no_record_could_be_read():
    check_columns({"prompt": "data.prompt_column"}, set())


def test_the_id_of_a_prompt_with_earlier_turns_is_that_of_all_of_them():
    table = build([Row(0, 0, "c", "x", context=(("user", "a"), ("assistant", "b"))), Row(1, 0, "c", "y")], [])
    turns = (
        '[{"content":"a","role":"user"},{"content":"b","role":"assistant"},{"content":"c","role":"user"}]',
        "c",
    )
    assert table["prompt_id"].to_list() == [hashlib.sha256(text.encode()).hexdigest()[:16] for text in turns]
    check(table, [])
    broken = table.with_columns(prompt_id=pl.lit(table["prompt_id"][1]))
    with pytest.raises(ValueError, match="not the hash of its turns"):
        check(broken, [])
