import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.inference.seeds import bootstrap_over_seeds, permutation_over_seeds


def table(means) -> np.ndarray:
    """Prompts that differ by 1 around each seed's mean."""
    return np.asarray(means, dtype=float)[:, None] + np.array([[-1.0, 0.0, 1.0]])


@pytest.mark.parametrize(("seeds", "bootstrap", "permutation"), [(5, False, False), (6, False, True), (10, True, True)])
def test_too_few_seeds_have_no_answer(seeds, bootstrap, permutation):
    values = table(np.arange(seeds))
    assert (bootstrap_over_seeds(values) is not None) == bootstrap
    assert (permutation_over_seeds(values) is not None) == permutation


def test_six_seeds_of_one_sign_have_the_least_p_there_is():
    assert permutation_over_seeds(table([1, 2, 3, 4, 5, 6])) == pytest.approx(2 / 2**6)


@given(st.lists(st.integers(-9, 9), min_size=6, max_size=8))
def test_permutation_counts_the_flips_that_are_as_extreme(means):
    sums = [
        abs(sum(s * m for s, m in zip(signs, means, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(means))
    ]
    assert permutation_over_seeds(table(means)) == pytest.approx(np.mean(np.array(sums) >= abs(sum(means))))


def test_bootstrap_of_symmetric_seeds_is_near_the_normal_interval():
    # 20 seeds at -1 and 1: the resampled mean has sd 1 / sqrt(20) = 0.2236, times 1.96: 0.438
    found = bootstrap_over_seeds(table([-1, 1] * 10))
    assert (found.low, found.high) == pytest.approx((-0.438, 0.438), abs=0.07)


def test_the_same_seeds_have_the_same_answer_twice():
    values = table(np.random.default_rng(3).normal(size=16))
    assert bootstrap_over_seeds(values) == bootstrap_over_seeds(values)
    assert permutation_over_seeds(values) == permutation_over_seeds(values)


def test_seeds_that_are_all_alike_claim_no_certainty():
    assert all(math.isnan(end) for end in bootstrap_over_seeds(table([0.5] * 10)))


def test_a_prompt_that_lacks_a_seed_is_left_out_of_all():
    values = table(np.random.default_rng(4).normal(size=12))
    holed = np.insert(values, 1, 100.0, axis=1)
    holed[3, 1] = math.nan
    assert bootstrap_over_seeds(holed) == bootstrap_over_seeds(values)
    assert permutation_over_seeds(holed) == permutation_over_seeds(values)


def test_no_complete_prompt_is_nan():
    holed = np.full((12, 2), math.nan)
    assert math.isnan(bootstrap_over_seeds(holed).low)
    assert math.isnan(permutation_over_seeds(holed))
