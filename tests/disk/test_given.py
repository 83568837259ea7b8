"""Users' files, read strictly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from notus_exp.disk.given import DuplicateKeyError, check_header, parse, usable
from notus_exp.errors import UserError


def test_json_is_read_as_it_is() -> None:
    assert parse('{"a": [1, {"b": null}], "c": {"b": "x"}}') == {"a": [1, {"b": None}], "c": {"b": "x"}}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"x": {"a": 1, "b": 2, "a": 3}}]'])
def test_a_key_that_stands_twice_is_an_error(text: str) -> None:
    with pytest.raises(DuplicateKeyError, match="the key 'a' stands twice"):
        parse(text)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5000])
def test_what_cannot_be_read_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_number_is_usable_up_to_a_milliard() -> None:
    assert all(map(usable, (0, -1e9, 1e9, 5e-324)))
    assert not any(map(usable, (math.nan, math.inf, -math.inf, 1e308, 10**400, -1.0000001e9)))


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a,b,a\n1,2,3\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"numbers: .* has 2 columns 'a'"):
        check_header(file, "numbers")
