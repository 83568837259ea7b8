"""Settings as JSON: whole, and what of them enters a key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional

from notus_exp.config.ranges import bounded, one_of, unbounded
from notus_exp.stages.settings import keyed, to_json

Way = Enum("Way", ["there", "back"])


@dataclass
class Inner:
    path: str = unbounded(in_key=False)
    size: int = bounded(least=1)
    threads: int = bounded(least=1, in_key=False)


@dataclass
class Outer:
    kind: str = one_of("a", "b")
    mode: str = one_of("online", "offline", in_key=False)
    free: Optional[str] = unbounded()
    way: Way
    one: Inner
    many: list[Inner]
    named: dict[str, Inner]


def outer() -> Outer:
    inner = Inner("p", 1, 2)
    return Outer("a", "online", None, Way.back, inner, [inner], {"x": inner})


def test_what_is_left_out_of_keys_is_left_out_at_every_depth() -> None:
    assert keyed(outer()) == {
        "kind": "a", "free": None, "way": "back",
        "one": {"size": 1}, "many": [{"size": 1}], "named": {"x": {"size": 1}},
    }  # fmt: skip


def test_json_has_every_field() -> None:
    inner = {"path": "p", "size": 1, "threads": 2}
    assert to_json(outer()) == {
        "kind": "a", "mode": "online", "free": None, "way": "back",
        "one": inner, "many": [inner], "named": {"x": inner},
    }  # fmt: skip
