"""Is predicted power true where few prompts differ? Simulated studies of yes and no beside `notus_exp.power`.

    python benchmarks/calibration_few_differ.py             # --repetitions 2000

A line is a world (how often an arm is right, the deviations of its prompts, seeds and noise beside an ease of prompts
that both arms share), prompts, seeds and level: simulated and predicted power at three standard errors, how far the
prediction is too high, and how many prompts differ in any seed in the mean. The exit code is 1 where it is more than 4
points too high though `FEW_DIFFERING` prompts differ, in a world without wild seeds.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from notus_exp.inference.crossed import Components, MeanSquares, crossed_interval, mean_squares
from notus_exp.inference.power import Design, power
from notus_exp.reporting.planning import FEW_DIFFERING

MOST_OFF = 4.0
MOST_SHARE = 0.25
STABLE, SMALL, SOME, WILD = (0, 0, 0.3), (0.5, 0.05, 0.5), (0.2, 0.3, 0.2), (0.2, 1, 0.2)


class World(NamedTuple):
    """A world: its name, the share of right answers, the deviations of prompts, seeds and noise."""

    name: str
    rate: float
    deviations: tuple[float, float, float]


WORLDS = [
    World("half, stable", 0.5, STABLE),
    World("1 in 10, stable", 0.1, STABLE),
    World("1 in 33, stable", 0.03, STABLE),
    World("1 in 100, stable", 0.01, STABLE),
    World("half, seeds small", 0.5, SMALL),
    World("1 in 10, seeds small", 0.1, SMALL),
    World("1 in 33, seeds small", 0.03, SMALL),
    World("1 in 33, some seed", 0.03, SOME),
    World("1 in 10, wild seeds", 0.1, WILD),
    World("1 in 33, wild seeds", 0.03, WILD),
]


def drawn(world: World, rng: np.random.Generator, shape: tuple[int, int, int], effect: float) -> Any:
    """Return differences of yes and no, shape (studies, seeds, prompts)."""
    studies, seeds, prompts = shape
    prompt, seed, noise = world.deviations
    ease = rng.standard_normal((studies, 1, prompts))
    spread = math.sqrt(1 + prompt**2 + seed**2 + noise**2)

    def side(share: float) -> Any:
        own = prompt * rng.standard_normal((studies, 1, prompts)) + seed * rng.standard_normal((studies, seeds, 1))
        return ease + own + noise * rng.standard_normal(shape) > spread * stats.norm.isf(share)

    return side(world.rate + effect) - side(world.rate).astype(float)


def measure(world: World, prompts: int, seeds: int, family: int, studies: int) -> tuple[float, float, float]:
    """Return simulated and predicted power in percent, and how many prompts differ."""
    rng = np.random.default_rng(zlib.crc32(f"{world.name}|{prompts}|{seeds}|{family}".encode()))
    shape, confidence = (studies, seeds, prompts), 1 - 0.05 / family
    effect = min(3 * float(drawn(world, rng, shape, 0.0).mean(axis=(1, 2)).std()), MOST_SHARE)
    values = drawn(world, rng, shape, effect)
    squares = mean_squares(values)
    known = sum(squares) > 0
    whole = MeanSquares(*(np.where(known, one, 1.0) for one in squares))
    found = crossed_interval(values.mean(axis=(1, 2)), whole, prompts=prompts, seeds=seeds, confidence=confidence)
    prompt, seed, residual = (float(one.mean()) for one in squares)
    variances = Components(max(prompt - residual, 0) / seeds, max(seed - residual, 0) / prompts, residual)
    predicted = power(variances, effect, Design(prompts, seeds, confidence)).value
    seen = float((known & ((found.low > 0) | (found.high < 0))).mean())
    return 100 * seen, 100 * predicted, float((values != 0).any(axis=1).sum(axis=1).mean())


def main() -> int:
    """Measure and print all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2_000, help="studies a line")
    repetitions = parser.parse_args().repetitions
    outside = False
    print("| world | prompts | seeds | contrasts | power | predicted | too high by | differing |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for world in WORLDS:
        for prompts in (50, 100, 200, 400, 800):
            for seeds, family in ((3, 1), (3, 3), (5, 1), (5, 3)):
                seen, predicted, differing = measure(world, prompts, seeds, family, repetitions)
                off = predicted - seen
                outside |= off > MOST_OFF and differing >= FEW_DIFFERING and world.deviations != WILD
                cells = f"{seen:.1f} | {predicted:.1f} | {off:+.1f} | {differing:.1f}"
                print(f"| {world.name} | {prompts} | {seeds} | {family} | {cells} |", flush=True)
    return int(outside)


if __name__ == "__main__":
    sys.exit(main())
