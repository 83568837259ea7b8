from __future__ import annotations

import math

import pytest

from notus_exp.run.expectation import NOTHING, Expected, Taken, expect, together


def test_nothing_recorded_is_nothing_known() -> None:
    assert expect([], 10.0) is None


def test_the_same_amount_takes_what_it_took() -> None:
    found = expect([Taken(10, 30.0), Taken(10, 30.0)], 10)
    assert found is not None
    assert found.seconds == pytest.approx(30.0)
    assert found.low < 30.0 < found.high


def test_a_fixed_part_is_told_from_one_that_grows() -> None:
    # fixed 8, rate 0.5, where the fixed part is twice the other at the median amount: a shape that is tried
    taken = [Taken(amount, 8 + 0.5 * amount) for amount in (4, 8, 16)]
    found = expect(taken, 32)
    assert found is not None
    assert found.seconds == pytest.approx(24.0)


def test_what_is_always_alike_stays_so_at_other_amounts() -> None:
    found = expect([Taken(1, 5.0), Taken(10, 5.0), Taken(100, 5.0)], 1000)
    assert found is not None
    assert found.seconds == pytest.approx(5.0)


def test_one_amount_alone_is_in_proportion_and_the_interval_reaches_back_to_it() -> None:
    more, less = expect([Taken(10, 20.0)], 100), expect([Taken(10, 20.0)], 1)
    assert more is not None and less is not None
    assert more.seconds == pytest.approx(200.0)
    assert more.low < 20.0, "all of it may have been fixed"
    assert less.seconds == pytest.approx(2.0)
    assert less.high > 20.0


def test_disagreeing_records_make_a_wider_interval_and_many_that_agree_a_narrower() -> None:
    alike = expect([Taken(10, 20.0)] * 10, 10)
    few = expect([Taken(10, 20.0)] * 2, 10)
    apart = expect([Taken(10, 5.0), Taken(10, 80.0)] * 5, 10)
    assert alike is not None and few is not None and apart is not None
    width = {name: math.log(one.high / one.low) for name, one in zip("afd", (alike, few, apart), strict=True)}
    assert width["a"] < width["f"] < width["d"]
    assert apart.low < 5.0 and apart.high > 80.0


def test_one_outlier_moves_a_forecast_little() -> None:
    found = expect([Taken(10, 20.0)] * 9 + [Taken(10, 2000.0)], 10)
    assert found is not None
    assert 20 <= found.seconds < 40


def test_what_is_made_one_after_the_other_adds_up_ends_too() -> None:
    assert together([]) == NOTHING
    assert together([Expected(1, 0.5, 2), Expected(10, 5, 20)]) == (11, 5.5, 22)
    assert Expected(1, 0.5, 2).scaled(4) == (4, 2, 8)
    assert Expected(3, 3, 3).widened(3) == (3, 1, 9)
