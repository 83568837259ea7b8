"""Are the intervals of studies honest? Simulated tables of seeds by prompts with known truth, on a named grid.

    python benchmarks/calibration.py                       # about two minutes on one core

Each line is a world (which variances), a number of seeds and of prompts. Printed are, in percent: false positives and
coverage of the 95 % interval of `crossed_mean`; its power at an effect, and what `notus_exp.power` predicts; the false
positives of errors that count prompts only, and of a percentile bootstrap over seeds. The exit code is 1 where a line
of the grid has false positives outside 3 to 8 or coverage outside 92 to 97; the lines under "known to miss" are outside
and say so.

The effect is three true standard errors (of a share at most 0.25). Differences of yes and no (-1, 0, 1) are made by
two arms that answer the same prompts: each is right where the sum of the prompt's ease, its own prompt and seed effects
and noise is above 0.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from notus_exp.inference.crossed import Components, MeanSquares, components_of, crossed_interval, mean_squares
from notus_exp.inference.power import Design, power

Array = NDArray[np.float64]
Deviations = tuple[float, float, float]

FALSE_POSITIVES = (3.0, 8.0)
COVERAGE = (92.0, 97.0)
SEEDS = (3, 5)
PROMPTS = (50, 200, 800)
RESAMPLES = 1_000
MOST_SHARE = 0.25
"""Largest effect on a share: beyond it an arm would have to be right more often than always."""

CHUNK = 4_000_000
"""Values in one array at most."""


class World(NamedTuple):
    """Where tables come from.

    Attributes:
        name: What it is.
        deviations: Of prompts, seeds (K) and prompts (n) to the standard deviations of prompt, seed and residual.
        rate: Share that either arm gets right, for differences of yes and no; None for normal differences.
    """

    name: str
    deviations: Callable[[int, int], Deviations]
    rate: float | None = None


class Point(NamedTuple):
    """One line: a world and how much of it is seen."""

    world: World
    seeds: int
    prompts: int


class Sample(NamedTuple):
    """Many tables: their means, mean squares and means by seed (shape (R, K))."""

    means: Array
    squares: MeanSquares
    by_seed: Array


class Line(NamedTuple):
    """What a point showed, in percent; `effect` in units of the residual, or as a share."""

    false_positives: float
    coverage: float
    effect: float
    power: float
    predicted: float
    prompts_only: float
    bootstrap: float


def constant(*deviations: float) -> Callable[[int, int], Deviations]:
    prompt, seed, residual = deviations
    return lambda _seeds, _prompts: (prompt, seed, residual)


def mixed(share: float) -> Callable[[int, int], Deviations]:
    """Prompts whose part of the variance of the mean is so many times that of seeds of deviation 0.3 and noise of 1."""
    return lambda seeds, prompts: (math.sqrt(share * (prompts * 0.09 + 1) / seeds), 0.3, 1.0)


WORLDS = [
    World("pure noise", constant(0, 0, 1)),
    World("prompts alone", constant(1, 0, 0.5)),
    World("prompts dominate", constant(2, 0.02, 1)),
    World("accuracy-like", constant(0.4, 0.02, 0.35)),
    World("seeds as noise", lambda _, prompts: (0.0, 1 / math.sqrt(prompts), 1.0)),
    World("prompts as seeds", mixed(1.0)),
    World("hardest mix", mixed(0.15)),
    World("seeds dominate", constant(0.2, 1, 0.2)),
    World("yes/no: noise", constant(0, 0, 1), 0.5),
    World("yes/no: seeds small", constant(0.5, 0.05, 0.5), 0.5),
    World("yes/no: seeds large", constant(0.5, 0.3, 0.5), 0.5),
    World("yes/no: seeds dominate", constant(0.2, 1, 0.2), 0.5),
    World("yes/no: one in ten", constant(0.5, 0.05, 0.5), 0.1),
]
GRID = [Point(world, seeds, prompts) for world in WORLDS for seeds in SEEDS for prompts in PROMPTS]
KNOWN_TO_MISS = [
    Point(World("two seeds, hardest mix", mixed(0.07)), 2, 200),
    Point(World("yes/no: 1 in 10, stable", constant(0, 0, 0.3), 0.1), 3, 50),
    Point(World("yes/no: 1 in 33, stable", constant(0, 0, 0.3), 0.03), 3, 50),
    Point(World("yes/no: 1 in 10, wild seeds", constant(0.2, 1, 0.2), 0.1), 3, 200),
    Point(World("yes/no: 1 in 10, wild seeds", constant(0.2, 1, 0.2), 0.1), 5, 200),
]


def normal_tables(point: Point, rng: np.random.Generator, repetitions: int) -> Iterator[Array]:
    """Yield tables of shape (some, K, n) whose true mean is 0."""
    prompt, seed, residual = point.world.deviations(point.seeds, point.prompts)
    for some in _chunks(point, repetitions):
        yield (
            prompt * rng.standard_normal((some, 1, point.prompts))
            + seed * rng.standard_normal((some, point.seeds, 1))
            + residual * rng.standard_normal((some, point.seeds, point.prompts))
        )


def binary_tables(point: Point, rng: np.random.Generator, repetitions: int, effect: float) -> Iterator[Array]:
    """Yield tables of shape (some, K, n) of -1, 0 and 1 whose true mean is the effect."""
    prompt, seed, residual = point.world.deviations(point.seeds, point.prompts)
    total = math.sqrt(1 + prompt**2 + seed**2 + residual**2)
    rate = point.world.rate or 0.0
    for some in _chunks(point, repetitions):
        ease = rng.standard_normal((some, 1, point.prompts), dtype=np.float32)
        right = []
        for share in (rate + effect, rate):
            latent = residual * rng.standard_normal((some, point.seeds, point.prompts), dtype=np.float32)
            latent += ease + prompt * rng.standard_normal((some, 1, point.prompts), dtype=np.float32)
            latent += seed * rng.standard_normal((some, point.seeds, 1), dtype=np.float32)
            right.append(latent > -total * stats.norm.ppf(share))
        yield right[0].astype(np.float64) - right[1]


def _chunks(point: Point, repetitions: int) -> Iterator[int]:
    size = max(CHUNK // (point.seeds * point.prompts), 1)
    for start in range(0, repetitions, size):
        yield min(size, repetitions - start)


def gather(tables: Iterator[Array]) -> Sample:
    """Return what the intervals need. Tables that are all alike (yes/no only) are no study; they are left out."""
    means, squares, by_seed = [], [], []
    for chunk in tables:
        varied = chunk[np.ptp(chunk, axis=(1, 2)) > 0]
        means.append(varied.mean(axis=(1, 2)))
        squares.append(mean_squares(varied))
        by_seed.append(varied.mean(axis=2))
    parts = MeanSquares(*(np.concatenate(part) for part in zip(*squares, strict=True)))
    return Sample(np.concatenate(means), parts, np.concatenate(by_seed))


def covered(sample: Sample, point: Point, truth: float) -> float:
    """Return how many percent of the crossed intervals hold the truth."""
    found = crossed_interval(sample.means, sample.squares, prompts=point.prompts, seeds=point.seeds)
    return 100 * float(np.mean((found.low <= truth) & (truth <= found.high)))


def seen(sample: Sample, point: Point) -> float:
    """Return how many percent of the crossed intervals leave out 0."""
    return 100 - covered(sample, point, 0.0)


def prompt_only_positives(sample: Sample, point: Point) -> float:
    """Return the percent of t intervals over prompts (their means over seeds) that leave out 0."""
    error = np.sqrt(sample.squares.prompt / (point.prompts * point.seeds))
    return 100 * float(np.mean(np.abs(sample.means) > stats.t.ppf(0.975, point.prompts - 1) * error))


def bootstrap_positives(sample: Sample, rng: np.random.Generator) -> float:
    """Return the percent of percentile intervals over resampled seeds that leave out 0, of 2,000 tables."""
    few = sample.by_seed[:2_000]
    seeds = few.shape[1]
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    low, high = np.percentile(few @ weights.T, [2.5, 97.5], axis=1)
    return 100 * float(np.mean((low > 0) | (high < 0)))


def measure(point: Point, repetitions: int, seed: int) -> Line:
    """Simulate one point without and with its effect."""
    rng = np.random.default_rng(seed)
    binary = point.world.rate is not None
    null = gather(binary_tables(point, rng, repetitions, 0.0) if binary else normal_tables(point, rng, repetitions))
    effect = 3 * float(null.means.std(ddof=1))
    if binary:
        effect = min(effect, MOST_SHARE)
    other = (
        gather(binary_tables(point, rng, repetitions, effect))
        if binary
        else null._replace(means=null.means + effect)  # the squares of normal tables do not depend on the mean
    )
    averages = MeanSquares(*(float(part.mean()) for part in other.squares))
    variances = components_of(averages, point.prompts, point.seeds) if binary else _true(point)
    return Line(
        false_positives=seen(null, point),
        coverage=covered(other, point, effect),
        effect=effect,
        power=seen(other, point),
        predicted=100 * power(variances, effect, Design(point.prompts, point.seeds)).value,
        prompts_only=prompt_only_positives(null, point),
        bootstrap=bootstrap_positives(null, rng),
    )


def _true(point: Point) -> Components:
    return Components(*(deviation**2 for deviation in point.world.deviations(point.seeds, point.prompts)))


def within(line: Line) -> bool:
    """Return whether false positives and coverage are as promised."""
    return (
        FALSE_POSITIVES[0] <= line.false_positives <= FALSE_POSITIVES[1] and COVERAGE[0] <= line.coverage <= COVERAGE[1]
    )


def show(points: list[Point], repetitions: int, first_seed: int) -> list[Line]:
    """Measure and print points as a table in Markdown."""
    columns = ["world", "seeds", "prompts", "false positives", "coverage", "effect", "power", "predicted"]
    print("| " + " | ".join([*columns, "prompts only", "bootstrap", ""]) + "|")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    lines = []
    for number, point in enumerate(points):
        line = measure(point, repetitions, first_seed + number)
        numbers = (
            f"{line.false_positives:.1f} | {line.coverage:.1f} | {line.effect:.3f} | {line.power:.1f} | "
            f"{line.predicted:.1f} | {line.prompts_only:.1f} | {line.bootstrap:.1f}"
        )
        verdict = "" if within(line) else "OUT"
        print(f"| {point.world.name} | {point.seeds} | {point.prompts} | {numbers} | {verdict} |", flush=True)
        lines.append(line)
    return lines


def main() -> int:
    """Measure the grid and what is known to miss; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10_000, help="tables a line")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = show(GRID, options.repetitions, options.seed)
    print("\nKnown to miss:\n")
    show(KNOWN_TO_MISS, options.repetitions, options.seed + len(GRID))
    outside = sum(not within(line) for line in lines)
    rates = [line.false_positives for line in lines]
    covers = [line.coverage for line in lines]
    apart = max(abs(line.power - line.predicted) for line in lines)
    error = 100 * math.sqrt(0.05 * 0.95 / options.repetitions)
    print(f"\n{len(lines)} points of the grid, {options.repetitions:,} tables each: {outside} out of bounds.")
    print(f"False positives {min(rates):.1f} to {max(rates):.1f} %, coverage {min(covers):.1f} to {max(covers):.1f} %,")
    print(f"each with a Monte Carlo error of {error:.2f} points.")
    print(f"Power and prediction differ by {apart:.1f} points at most.")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
