"""What can a sample tell of rare differences that it may have missed? How often cautions are raised, and how well.

    python benchmarks/calibration_unseen.py                 # --repetitions 10000

A line is a world of single contrasts, prompts and seeds, and the largest difference that the metric allows, where it is
known. In percent, least to greatest over 3 and 5 seeds:

- errs: 95 % intervals that leave the true mean out;
- unwarned: those of them that carry no caution of skewness or of unseen prompts; "skewness alone" without the latter;
- cautioned: how many of all contrasts carry the one and the other.

The exit code is 1 where more than 6.5 % err unwarned in a world that does not say "scale unknown".
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from notus_exp.comparison.cautions import MOST_SKEWED, unseen_would_turn
from notus_exp.inference.crossed import MeanSquares, crossed_interval, mean_squares, skewness_of_mean

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int, int]], Any]

MOST_ERRORS = 6.5
CHUNK = 2_000_000


class Line(NamedTuple):
    """A world: its name, how differences are drawn, their true mean, prompts, and the scale; None: not known."""

    name: str
    draw: Draw
    prompts: tuple[int, ...]
    scale: float | None = None
    mean: float = 0.0


def losses(chance: float, size: float = 10.0) -> Draw:
    """Return a draw where a prompt loses `size` with a chance, and all gain as much in the mean."""

    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Any:
        some, seeds, prompts = shape
        noise = 0.3 * rng.standard_normal(shape) + 0.02 * rng.standard_normal((some, seeds, 1))
        return noise + size * (chance - (rng.random((some, 1, prompts)) < chance))

    return draw


def parts(prompt: float, seed: float, residual: float, *, mean: float = 0.0, heavy: bool = False) -> Draw:
    """Return a draw of three normal parts, or of three with t's tails at 3 degrees of freedom."""

    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Any:
        some, seeds, prompts = shape
        shapes = ((some, 1, prompts), (some, seeds, 1), shape)
        drawn = [rng.standard_t(3, one) / math.sqrt(3) if heavy else rng.standard_normal(one) for one in shapes]
        return mean + prompt * drawn[0] + seed * drawn[1] + residual * drawn[2]

    return draw


def gains(sigma: float) -> Draw:
    """Return a draw of normal parts where a prompt gains a lognormal, less its mean."""

    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Any:
        gained = np.exp(sigma * rng.standard_normal((shape[0], 1, shape[2]))) - math.exp(sigma**2 / 2)
        return parts(0.5, 0.1, 1.0)(rng, shape) + gained

    return draw


def answers(rate: float, prompt: float, residual: float, effect: float) -> Draw:
    """Return a draw of differences of yes and no, by an ease of each prompt that two arms share."""
    spread = math.sqrt(1 + prompt**2 + 0.05**2 + residual**2)

    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Any:
        ease = rng.standard_normal((shape[0], 1, shape[2]))
        sides = [
            ease + parts(prompt, 0.05, residual)(rng, shape) > spread * stats.norm.isf(share)
            for share in (rate + effect, rate)
        ]
        return sides[0].astype(float) - sides[1]

    return draw


def worlds() -> list[Line]:
    """Return the lines."""
    rare = [(0.02, 60), (0.03, 60), (0.05, 60), (0.02, 100), (0.01, 300)]
    lines = [
        Line(f"a loss of 10 at {chance:.0%}{', scale unknown' * (scale is None)}", losses(chance), (n,), scale)
        for scale in (10, None)
        for chance, n in rare
    ]
    lines += [Line(f"lognormal gains, {sigma}, scale unknown", gains(sigma), (60, 300)) for sigma in (1.0, 1.5, 2.0)]
    ordinary = {"pure noise": (0, 0, 1), "prompt by arm": (0.5, 0.1, 1), "prompts alone": (1, 0, 0.5)}
    lines += [
        Line(f"normal: {name}", parts(*deviations, mean=mean), (20, 60, 300), None, mean)
        for name, deviations in ordinary.items()
        for mean in (0.0, 0.3)
    ]
    lines += [Line("t with 3 degrees", parts(0.5, 0.1, 1, heavy=True), (60, 300))]
    kinds = {"noise": (0.0, 1.0), "seeds small": (0.5, 0.5), "stable": (0.0, 0.3)}
    return lines + [
        Line(f"yes/no: {name}, right in {rate:.0%}", answers(rate, *deviations, effect), (n,), 1, effect)
        for name, deviations in kinds.items()
        for rate in (0.1, 0.3, 0.5)
        for n in (60, 200)
        for effect in (0.0, 0.1)
    ]


class Counts(NamedTuple):
    """Shares in percent."""

    errs: float
    skewness_alone: float
    unwarned: float
    skewed: float
    unseen: float


def measure(line: Line, prompts: int, seeds: int, repetitions: int) -> Counts:
    """Simulate one line."""
    rng = np.random.default_rng(zlib.crc32(f"{line.name}|{line.scale}|{line.mean}|{prompts}|{seeds}".encode()))
    step = CHUNK // (prompts * seeds)
    found = [
        _judged(line, line.draw(rng, (min(step, repetitions - start), seeds, prompts)))
        for start in range(0, repetitions, step)
    ]
    return Counts(*(100 * np.concatenate(found, axis=1).mean(axis=1)))


def _judged(line: Line, values: Array) -> NDArray[np.bool_]:
    seeds, prompts = values.shape[1:]
    by_prompt, means = values.mean(axis=1), values.mean(axis=(1, 2))
    squares = mean_squares(values)
    known = sum(squares) > 0
    squares = MeanSquares(*(np.where(known, part, 1.0) for part in squares))
    error, _, low, high = crossed_interval(means, squares, prompts=prompts, seeds=seeds)
    wrong = known & ((low > line.mean) | (high < line.mean))
    skewed = known & (abs(skewness_of_mean(by_prompt, error)) > MOST_SKEWED)
    worst = abs(by_prompt).max(axis=1) if line.scale is None else line.scale
    unseen = known & ((low > 0) | (high < 0)) & unseen_would_turn(means, worst, prompts)
    return np.stack([wrong, wrong & ~skewed, wrong & ~skewed & ~unseen, skewed, unseen])


def main() -> int:
    """Measure and print all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10_000, help="contrasts a line")
    repetitions = parser.parse_args().repetitions
    rows: dict[tuple[str, int], list[Counts]] = {}
    outside = False
    for line in worlds():
        for prompts in line.prompts:
            found = [measure(line, prompts, seeds, repetitions) for seeds in (3, 5)]
            rows.setdefault((line.name, prompts), []).extend(found)
            outside |= "unknown" not in line.name and max(one.unwarned for one in found) > MOST_ERRORS
    print("| world | prompts | errs | unwarned, skewness alone | unwarned | cautioned: skewed | cautioned: unseen |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for (name, prompts), several in rows.items():
        cells = [f"{min(one):.1f} to {max(one):.1f}" for one in zip(*several, strict=True)]
        print(f"| {name} | {prompts} | {' | '.join(cells)} |")
    return int(outside)


if __name__ == "__main__":
    sys.exit(main())
