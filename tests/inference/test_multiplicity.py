import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.inference.multiplicity import adjust, step_confidences

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_both_corrections_by_hand():
    # Holm: 4 x 0.01, 3 x 0.02, then never below the one before; Benjamini-Hochberg: 4/1, 4/2, 4/3, 4/4, from the top
    found = adjust([0.04, 0.01, 0.03, 0.02])
    assert [one.holm for one in found] == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert [one.benjamini_hochberg for one in found] == pytest.approx([0.04, 0.04, 0.04, 0.04])


def test_an_unknown_p_stays_unknown_and_does_not_count():
    found = adjust([0.02, math.nan, 0.03])
    assert [found[0].holm, found[2].holm] == pytest.approx([0.04, 0.04])
    assert math.isnan(found[1].holm)
    assert math.isnan(found[1].benjamini_hochberg)


@pytest.mark.parametrize("given_p", [[], [math.nan]])
def test_an_empty_family_is_no_error(given_p):
    assert len(adjust(given_p)) == len(given_p)


@settings(max_examples=15)  # statsmodels collects garbage on every call, which takes a while
@given(p_values)
def test_a_correction_never_lowers_a_p_and_holm_is_the_stricter(p):
    for raw, one in zip(p, adjust(p), strict=True):
        assert raw <= one.benjamini_hochberg + 1e-12
        assert one.benjamini_hochberg <= one.holm + 1e-12
        assert one.holm <= 1


@settings(max_examples=15)  # statsmodels collects garbage on every call, which takes a while
@given(p_values)
def test_the_order_of_the_contrasts_does_not_matter(p):
    assert adjust(p[::-1]) == adjust(p)[::-1]


def test_intervals_have_the_level_of_holms_step_by_hand():
    # 0.01 <= 0.05 / 4; 0.015 <= 0.05 / 3; 0.03 > 0.05 / 2, so that 0.04 is no more compared: the level of that stop
    found = step_confidences([0.03, 0.01, math.nan, 0.04, 0.015])
    assert [found[index] for index in (1, 4, 0, 3)] == pytest.approx([1 - 0.05 / part for part in (4, 3, 2, 2)])
    assert math.isnan(found[2])


@settings(max_examples=15)  # statsmodels collects garbage on every call, which takes a while
@given(p_values)
def test_a_p_is_below_its_steps_level_exactly_where_holms_is_below_five_percent(p):
    for raw, one, confidence in zip(p, adjust(p), step_confidences(p), strict=True):
        if abs(one.holm - 0.05) > 1e-9:
            assert (one.holm < 0.05) == (raw < 1 - confidence)
