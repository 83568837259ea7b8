"""The interval of Krippendorff's alpha is that of resampled prompts; its value is tested with annotators."""

import math

import numpy as np
import pytest

from notus_exp.inference.alpha import alpha_estimate, interval_alpha


def world(prompts, noise, seed):
    """Two observers of four completions a prompt, who see the same quality with noise; some values are missing."""
    draw = np.random.default_rng(seed)
    quality = draw.normal(size=(prompts, 4)) + draw.normal(size=(prompts, 1))
    values = np.stack([quality + noise * draw.normal(size=quality.shape) for _ in range(2)]).reshape(2, -1)
    values[draw.random(values.shape) < 0.1] = math.nan
    return values, np.repeat(np.arange(prompts), 4)


def test_the_interval_is_as_wide_as_that_of_resampled_prompts():
    values, prompts = world(300, 0.8, 1)
    found = alpha_estimate(values, prompts)
    draw = np.random.default_rng(0)
    whole = values.reshape(2, 300, 4)
    resampled = [interval_alpha(whole[:, draw.integers(300, size=300)].reshape(2, -1)) for _ in range(400)]
    width = 2 * 1.96 * float(np.std(resampled, ddof=1))
    assert found.value == interval_alpha(values) and found.n == 300
    assert found.high - found.low == pytest.approx(width, rel=0.12)
    assert found.low < found.value < found.high


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = interval_alpha(world(60_000, 0.8, 0)[0])
    held = [low <= truth <= high for seed in range(200) for _, low, high, _ in [alpha_estimate(*world(40, 0.8, seed))]]
    assert 0.9 <= np.mean(held) <= 0.99


def test_what_is_known_without_doubt_or_of_one_prompt_alone_has_no_interval():
    agreed = alpha_estimate(np.array([[1.0, 2.0, 3.0, 4.0]] * 2), np.array([0, 0, 1, 1]))
    assert agreed.value == 1.0 and math.isnan(agreed.low) and agreed.n == 2
    alone = alpha_estimate(np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]), np.zeros(3, dtype=np.int64))
    assert not math.isnan(alone.value) and math.isnan(alone.low)
    nothing = alpha_estimate(np.array([[1.0, math.nan]] * 2)[:, 1:], np.array([0]))
    assert math.isnan(nothing.value) and nothing.n == 0
