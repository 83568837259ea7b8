"""The noise by which tokens are drawn: known bits, the right distribution, and no stream that knows of another."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from notus_exp.evaluation.catalogue import answering
from notus_exp.generation.decoding import GumbelNoise
from notus_exp.generation.noise import gumbel, splitmix
from notus_exp.run.evaluation_nodes import NOISE, evaluation_nodes
from support.configs import composed
from support.plans import fixed_sources

SEEDS = torch.arange(40) * 7 + 3


def test_the_bits_are_those_of_splitmix64():
    outputs = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    found = splitmix(torch.tensor([1234567]), torch.arange(1, 6))
    assert [number % 2**64 for number in found.tolist()] == outputs


def test_it_is_gumbels():
    drawn = gumbel(SEEDS, 5, 3000).flatten().double().numpy()
    assert stats.kstest(drawn, "gumbel_r").pvalue > 0.001
    assert stats.kstest(np.exp(-drawn), "expon").pvalue > 0.001
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean() - np.euler_gamma) < 4 * math.pi / math.sqrt(6 * drawn.size)


@pytest.mark.parametrize("beside", ["rows", "steps", "tokens"])
def test_neighbours_are_independent(beside):
    """Ranks of neighbours: correlation within four standard errors, and a table of both with no cell out of turn."""
    noise = torch.stack([gumbel(SEEDS, step, 400) for step in range(12)])
    axis = {"steps": 0, "rows": 1, "tokens": 2}[beside]
    size = noise.shape[axis]
    one, other = noise.narrow(axis, 0, size - 1).flatten(), noise.narrow(axis, 1, size - 1).flatten()
    ranks = [stats.gumbel_r.cdf(values.double().numpy()) for values in (one, other)]
    assert abs(np.corrcoef(*ranks)[0, 1]) < 4 / math.sqrt(len(one))
    table, *_ = np.histogram2d(*ranks, bins=8, range=[[0, 1], [0, 1]])
    assert stats.chisquare(table.flatten()).pvalue > 0.001


def test_a_draw_is_of_its_prompt_step_and_token_alone():
    whole = gumbel(SEEDS, 3, 500)
    assert torch.equal(gumbel(SEEDS[7:9], 3, 500), whole[7:9])
    assert torch.equal(gumbel(SEEDS, 3, 300), whole[:, :300])
    large = gumbel(SEEDS[:3], 3, 200_000)  # beyond a block
    assert torch.equal(large[:, :500], whole[:3])
    assert not torch.equal(gumbel(SEEDS, 4, 500), whole)


def test_the_winner_follows_the_softmax():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(2000, 4)
    noise = GumbelNoise([0.5] * 2000, [*range(2000)])
    drawn = torch.cat([noise(torch.zeros(2000, 1), logits).argmax(dim=1) for _ in range(5)])
    expected = torch.softmax(logits[0].double() / 0.5, dim=0).numpy() * len(drawn)
    assert stats.chisquare(np.bincount(drawn, minlength=4), expected).pvalue > 0.001


def test_a_long_vocabularys_winner_has_no_favourite_place():
    winners = torch.cat([gumbel(SEEDS, step, 2**15).argmax(dim=1) for step in range(25)])
    assert stats.kstest(winners.numpy() / 2**15, "uniform").pvalue > 0.001
    assert (
        stats.kstest(
            gumbel(torch.arange(200), 0, 2**15).amax(dim=1).double().numpy(), "gumbel_r", args=(math.log(2**15), 1)
        ).pvalue
        > 0.001
    )


@pytest.mark.gpu
def test_a_gpu_has_the_bits_of_the_cpu():
    seeds = SEEDS.cuda()
    assert torch.equal(splitmix(seeds, 9).cpu(), splitmix(SEEDS, 9))
    assert torch.allclose(gumbel(seeds, 2, 4096).cpu(), gumbel(SEEDS, 2, 4096), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "sampled"),
    [
        (["evaluation=[verifiable]"], False),
        (["evaluation=[verifiable]", "evaluation.verifiable.temperature=0.5"], True),
        (["evaluation=[mt_bench]", "evaluation.mt_bench.questions=q.jsonl", "judge=mock"], True),
    ],
)
def test_only_the_keys_of_sampled_answers_know_of_the_noise(given, sampled):
    config = composed("experiment=smoke", *given)
    assert answering(config.evaluation)
    rows = {name: settings for name, _, settings, _ in evaluation_nodes(config, fixed_sources(config))}
    answers = [settings for name, settings in rows.items() if name.startswith("generations_")]
    assert len(answers) == 2
    assert {settings.noise for settings in answers} == {NOISE if sampled else 1}
