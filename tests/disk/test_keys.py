"""Keys of artifacts."""

from __future__ import annotations

from notus_exp.disk.keys import make_key


def test_a_key_changes_with_everything_that_it_is_made_of_and_not_with_the_order_of_keys() -> None:
    base = make_key("pairs", 1, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "2"})
    assert base == make_key("pairs", 1, {"b": 2, "a": 1}, {"feedback": "x"}, {"torch": "2"})
    others = [
        make_key("policy", 1, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "2"}),
        make_key("pairs", 2, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "2"}),
        make_key("pairs", 1, {"a": 1, "b": 3}, {"feedback": "x"}, {"torch": "2"}),
        make_key("pairs", 1, {"a": 1, "b": 2}, {"feedback": "y"}, {"torch": "2"}),
        make_key("pairs", 1, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "3"}),
    ]
    assert len({base, *others}) == 6
