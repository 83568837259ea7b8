"""A record is checked once while its file stays, and anew when it was written again; both checks say the same."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, TypedDict

import pytest

from notus_exp.contracts import file_states
from notus_exp.contracts.format import check_shape, parse_checked


class _Inner(TypedDict, total=False):
    number: float
    texts: list[str]


class _Outer(TypedDict, total=False):
    one: _Inner
    by_name: dict[str, _Inner | None]
    flag: bool
    count: int
    anything: Any


class Checks:
    """A check that notes what it was given, and refuses what says so."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, content: dict[str, Any], path: Path) -> None:
        self.seen.append(content["says"])
        if content["says"] == "wrong":
            raise ValueError("it is wrong")


def write(path: Path, says: str) -> None:
    path.write_text(json.dumps({"says": says}), encoding="utf-8")


def test_a_file_that_stays_is_checked_once_and_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_states, "SETTLED", 0.0)
    check, path = Checks(), tmp_path / "record.json"
    write(path, "first")
    first, again = parse_checked(path, check), parse_checked(path, check)
    assert check.seen == ["first"]
    first["says"] = "changed by its reader"
    assert again == parse_checked(path, check) == {"says": "first"}


def test_a_file_that_was_changed_is_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_states, "SETTLED", 0.0)
    check, path = Checks(), tmp_path / "record.json"
    write(path, "first")
    parse_checked(path, check)
    then = path.stat()
    time.sleep(0.02)
    write(path, "wrong")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    for _ in range(2):  # what did not pass is not remembered
        with pytest.raises(ValueError, match="it is wrong"):
            parse_checked(path, check)


def test_one_written_a_moment_ago_is_checked_each_time(tmp_path: Path) -> None:
    check, path = Checks(), tmp_path / "record.json"
    write(path, "first")
    parse_checked(path, check)
    parse_checked(path, check)
    assert check.seen == ["first", "first"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, None),
        ({"unknown": 1}, None),
        ({"one": {"number": 1, "texts": []}, "anything": [None]}, None),
        ({"by_name": {"a": None, "b": {"number": 0.5}}, "flag": True, "count": 3}, None),
        ([], "it is of type list where an object belongs"),
        ({"flag": 1}, "its 'flag' is of type int, not bool"),
        ({"count": True}, "its 'count' is of type bool, not int"),
        ({"count": 1.0}, "its 'count' is of type float, not int"),
        ({"one": None}, "its 'one' is of type NoneType, not dict"),
        ({"one": {"number": "1"}}, "its 'one', 'number' is of type str, not float"),
        ({"one": {"texts": ["a", 2]}}, "its 'one', 'texts', number 2 is of type int, not str"),
        ({"by_name": {"a": 7}}, "its 'by_name', 'a' is of type int where an object belongs"),
    ],
)
def test_what_does_not_fit_is_told_in_the_same_words(value: Any, problem: str | None) -> None:
    if problem is None:
        check_shape(value, _Outer)
        return
    with pytest.raises(ValueError, match="type") as found:
        check_shape(value, _Outer)
    assert str(found.value) == problem
