"""Which runs a study starts next: those that nobody has in hand and that nobody finished meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notus_exp.study.launching import launched
from notus_exp.study.launching.planned import Planned


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was looked at; runs called `done...` are finished, and `held...` are another process's."""
    seen: list[str] = []

    def missing(planned: list[Planned], folder: Path) -> list[Planned]:
        seen.extend(one.run.id for one in planned)
        return [one for one in planned if not one.run.id.startswith("done")]

    monkeypatch.setattr(launched, "missing", missing)
    monkeypatch.setattr(launched, "_taken", lambda run: run.id.startswith("held"))
    return seen


def names(planned: list[Planned]) -> list[str]:
    return [one.run.id for one in planned]


def of(*ids: str) -> list[Planned]:
    runs: list[Any] = [SimpleNamespace(id=one) for one in ids]
    return [Planned("arm", 0, [], run) for run in runs]


@pytest.mark.parametrize(
    ("left", "size", "now", "still"),
    [
        (["a", "b", "c"], 1, ["a"], ["a", "b", "c"]),
        (["held", "a", "b"], 1, ["a"], ["held", "a", "b"]),
        (["done", "a", "b"], 1, ["a"], ["a", "b"]),
        (["done", "held", "a", "b", "c"], 2, ["a", "b"], ["held", "a", "b", "c"]),
        (["held1", "held2"], 1, [], ["held1", "held2"]),
        (["done1", "done2"], 3, [], []),
        ([], 1, [], []),
    ],
)
def test_the_next(looks: list[str], left: list[str], size: int, now: list[str], still: list[str]) -> None:
    found = launched._next(of(*left), size, Path())
    assert [names(one) for one in found] == [now, still]


def test_only_as_many_are_looked_at_as_are_started(looks: list[str]) -> None:
    launched._next(of(*(f"run{number}" for number in range(1000))), 1, Path())
    assert looks == ["run0"]
