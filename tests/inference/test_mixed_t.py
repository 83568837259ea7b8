import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from notus_exp.inference.mixed_t import one_sided_p, quantile, two_sided_p

shares = st.floats(0, 1)


def test_a_quantile_by_hand():
    # t(0.975, 9) = 2.262157, t(0.975, 2) = 4.302653; 0.25 x 1.75 = 0.4375
    wanted = math.sqrt(0.5625 * 2.262157**2 + 0.4375 * 4.302653**2)
    assert quantile(0.05, 0.5, prompts=10, seeds=3) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("share", "seeds", "degrees"), [(0.0, 5, 99), (1.0, 5, 4), (0.0, 1, 99)])
@pytest.mark.parametrize("ratio", [0.3, -2.5, 9.0])
def test_one_part_alone_is_the_textbook_t(share, seeds, degrees, ratio):
    found = two_sided_p(ratio, share, prompts=100, seeds=seeds)
    assert found == pytest.approx(2 * stats.t.sf(abs(ratio), degrees))
    assert one_sided_p(ratio, share, prompts=100, seeds=seeds) == pytest.approx(stats.t.sf(ratio, degrees))


@example(49.0, 0.0, 337, 2)
@given(st.floats(0.01, 50), shares, st.integers(2, 500), st.integers(2, 9))
def test_p_is_the_level_whose_quantile_is_the_ratio(ratio, share, prompts, seeds):
    p = two_sided_p(ratio, share, prompts=prompts, seeds=seeds)
    if p > 1e-250:
        assert quantile(p, share, prompts=prompts, seeds=seeds) == pytest.approx(ratio, rel=1e-6)


@given(st.floats(0.1, 20), shares, st.integers(5, 500), st.integers(2, 5))
def test_p_falls_with_the_ratio_and_grows_with_the_share_of_few_seeds(ratio, share, prompts, seeds):
    p = two_sided_p(ratio, share, prompts=prompts, seeds=seeds)
    assert two_sided_p(1.1 * ratio, share, prompts=prompts, seeds=seeds) <= p
    assert two_sided_p(ratio, min(1.0, share + 0.1), prompts=prompts, seeds=seeds) >= p * (1 - 1e-9)


def test_a_ratio_beyond_all_floats_has_p_zero_and_none_has_p_one():
    assert two_sided_p(1e6, 0.0, prompts=1000, seeds=3) == 0
    assert two_sided_p(0.0, 0.4, prompts=1000, seeds=3) == 1
    assert one_sided_p(0.0, 0.4, prompts=1000, seeds=3) == 0.5


@pytest.mark.parametrize("level", [0.05, 0.05 / 3, 0.05 / 7])
@pytest.mark.parametrize(("seeds", "most"), [(3, 1.4), (5, 1.05)])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.85, 0.95])
def test_errors_in_the_tail_are_near_their_level_whatever_the_true_share(level, seeds, most, share):
    # the prompts' part known, the seeds' a scaled chi-square: the chance of a normal beyond the quantile, averaged
    chance = (np.arange(4000) + 0.5) / 4000
    seed = share * stats.chi2.ppf(chance, seeds - 1) / (seeds - 1)
    total = 1 - share + seed
    cut = quantile(level, seed / total, prompts=100_000, seeds=seeds) * np.sqrt(total)
    assert 0.5 <= np.mean(2 * stats.norm.sf(cut)) / level <= most
