"""Rubrics are files: ours are whole, and what is wrong with a user's is told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from notus_exp.config.annotator_settings import RUBRICS
from notus_exp.errors import UserError
from notus_exp.judging.rubrics import rubric_of
from notus_exp.judging.templates import load_rubric_template


def test_our_own_have_types_and_leave_to_give_none_where_that_makes_sense() -> None:
    found = {name: rubric_of(name) for name in RUBRICS}
    assert {name for name, one in found.items() if one.types} == {"helpfulness", "truthfulness"}
    assert {name for name, one in found.items() if one.not_applicable} == {"honesty", "truthfulness"}
    assert all("5: " in one.criterion and "1: " in one.criterion for one in found.values())
    assert "9 to 10" in rubric_of(None).criterion


def test_a_file_of_a_users_is_read(tmp_path: Path) -> None:
    path = tmp_path / "kind.yaml"
    path.write_text(
        "criterion: |\n  Is it kind?\n  1: no\n  5: yes\ntypes: {rude: it hurts}\nnot_applicable: never asked\n"
    )
    found = rubric_of(str(path))
    assert (found.criterion, found.types, found.not_applicable) == (
        "Is it kind?\n1: no\n5: yes", {"rude": "it hurts"}, "never asked",
    )  # fmt: skip
    with pytest.raises(UserError, match="types is read where answers are rated together"):
        load_rubric_template(str(path), None, (1.0, 5.0))
    path.write_text("criterion: Is it kind?")
    assert load_rubric_template(str(path), None, (1.0, 5.0)).criterion == "Is it kind?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no mapping"),
        ("Is it kind?", "is not a mapping"),
        ("criterion: [a", "cannot be read as YAML"),
        ("criterion: a\ncriterion: b", "cannot be read as YAML"),
        ("criteron: a", "has the unknown key 'criteron'"),
        ("types: {a: b}", "criterion must be a text"),
        ("criterion: 3", "criterion must be a text"),
        ("criterion: a\ntypes: [b]", "types is no mapping"),
        ("criterion: a\ntypes: {b: 3}", "types is no mapping"),
        ("criterion: a\nnot_applicable: true", "not_applicable=True is no text"),
        ("criterion: " + "a" * 30_000, "is longer than 20,000 bytes"),
    ],
)
def test_a_file_that_is_no_rubric_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kind.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        rubric_of(str(path))
    assert said in caught.value.message
    assert str(path) in caught.value.message
