"""What can a sample tell of rare differences that it may have missed? How often cautions are raised, and how well.

    python benchmarks/calibration_unseen.py                 # --repetitions 10000
    python benchmarks/calibration_unseen.py --part forms    # what else could be said of metrics without a scale

A line is a world of single contrasts, prompts and seeds, and the largest difference that the metric allows, where it is
known. Else ("no scale") the values of the prompts, which both arms share, have the deviation that is named: cautions
see how far apart they lie. In percent, least to greatest over 3 and 5 seeds:

- errs: 95 % intervals that leave the true mean out;
- unwarned: those of them that carry no caution of skewness or of unseen prompts; "skewness alone" without the latter;
- cautioned: how many of all contrasts carry the one and the other, and of those without a scale how many are told what
  it would take ("beyond").

The exit code is 1 where more than 6.5 % err unwarned in any world. Part `forms`, 3 seeds: errors without a caution of
skewness that each form leaves unwarned, and behind a slash how many of the clear contrasts it cautions.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from notus_exp.comparison.cautions import MOST_SKEWED, MOST_TIMES, UNSEEN, unseen_would_turn
from notus_exp.inference.crossed import MeanSquares, crossed_interval, mean_squares, skewness_of_mean

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int, int]], Any]

MOST_ERRORS = 6.5
CHUNK = 2_000_000


class Line(NamedTuple):
    """A world: its name, how differences are drawn, their true mean, prompts, the scale (None: the metric has none).

    `spread` is the deviation of the values of prompts, which both arms share.
    """

    name: str
    draw: Draw
    prompts: tuple[int, ...]
    scale: float | None = None
    mean: float = 0.0
    spread: float = 0.0


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
    lines = [Line(f"a loss of 10 at {chance:.0%}", losses(chance), (n,), 10) for chance, n in rare]
    lines += [
        Line(f"a loss of 10 at {chance:.0%}, no scale, values {spread:g}", losses(chance), (n,), spread=spread)
        for spread in (3, 0)
        for chance, n in rare
    ]
    lines += [Line(f"lognormal gains, {sigma}, no scale", gains(sigma), (60, 300)) for sigma in (1.0, 1.5, 2.0)]
    lines += ordinary_lines(((0.0, 20), (0.0, 60), (0.0, 300), (0.3, 20), (0.3, 60), (0.3, 300), (0.3, 800)))
    lines += [Line("t with 3 degrees, no scale", parts(0.5, 0.1, 1, heavy=True), (60, 300), spread=1)]
    kinds = {"noise": (0.0, 1.0), "seeds small": (0.5, 0.5), "stable": (0.0, 0.3)}
    return lines + [
        Line(f"yes/no: {name}, right in {rate:.0%}", answers(rate, *deviations, effect), (n,), 1, effect)
        for name, deviations in kinds.items()
        for rate in (0.1, 0.3, 0.5)
        for n in (60, 200)
        for effect in (0.0, 0.1)
    ]


def ordinary_lines(sizes: Sequence[tuple[float, int]]) -> list[Line]:
    """Return normal worlds of these true means and prompts; the values of prompts scatter as the noise does."""
    ordinary = {"pure noise": (0, 0, 1), "prompt by arm": (0.5, 0.1, 1), "prompts alone": (1, 0, 0.5)}
    return [
        Line(f"normal: {name}, gain {mean:g}, no scale", parts(*deviations, mean=mean), (n,), None, mean, 1)
        for name, deviations in ordinary.items()
        for mean, n in sizes
    ]


class Counts(NamedTuple):
    """Shares in percent."""

    errs: float
    skewness_alone: float
    unwarned: float
    skewed: float
    unseen: float
    beyond: float


class Judged(NamedTuple):
    """Contrasts, shape (repetitions,) each: the interval errs, leaves 0 out, is skewed; and what forms are made of."""

    wrong: Any
    clear: Any
    skewed: Any
    means: Any
    by_prompt: Array
    apart: Array


def measure(line: Line, prompts: int, seeds: int, repetitions: int) -> Counts:
    """Simulate one line."""
    rng = np.random.default_rng(zlib.crc32(f"{line.name}|{line.scale}|{line.mean}|{prompts}|{seeds}".encode()))
    step = CHUNK // (prompts * seeds)
    found = [
        _counted(line, judged(line, line.draw(rng, (min(step, repetitions - start), seeds, prompts)), rng))
        for start in range(0, repetitions, step)
    ]
    return Counts(*(100 * np.concatenate(found, axis=1).mean(axis=1)))


def judged(line: Line, values: Array, rng: np.random.Generator) -> Judged:
    """Test contrasts, and see how far apart the values of their prompts lie."""
    seeds, prompts = values.shape[1:]
    by_prompt, means = values.mean(axis=1), values.mean(axis=(1, 2))
    squares = mean_squares(values)
    known = sum(squares) > 0
    squares = MeanSquares(*(np.where(known, part, 1.0) for part in squares))
    error, _, low, high = crossed_interval(means, squares, prompts=prompts, seeds=seeds)
    wrong = known & ((low > line.mean) | (high < line.mean))
    skewed = known & (abs(skewness_of_mean(by_prompt, error)) > MOST_SKEWED)
    shared = line.spread * rng.standard_normal((len(values), prompts))
    both = np.concatenate([shared, shared + by_prompt], axis=1)
    return Judged(wrong, known & ((low > 0) | (high < 0)), skewed, means, by_prompt, np.ptp(both, axis=1))


def _counted(line: Line, found: Judged) -> NDArray[np.bool_]:
    wrong, clear, skewed, means, by_prompt, apart = found
    prompts, shown = by_prompt.shape[1], abs(by_prompt).max(axis=1)
    worst = np.maximum(shown, apart) if line.scale is None else line.scale
    unseen = clear & unseen_would_turn(means, worst, prompts)
    beyond = clear & ~unseen & unseen_would_turn(means, MOST_TIMES * shown, prompts) & (line.scale is None)
    silent = wrong & ~skewed
    return np.stack([wrong, silent, silent & ~unseen & ~beyond, skewed, unseen, beyond])


def forms(found: Judged) -> dict[str, Any]:
    """Return how far a rare difference is thought to go by each form, for metrics without a scale."""
    by_prompt, prompts = found.by_prompt, found.by_prompt.shape[1]
    sizes = np.sort(abs(by_prompt), axis=1)[:, ::-1]
    shown, top = sizes[:, 0], max(5, prompts // 10)
    hill = np.log(sizes[:, :top] / sizes[:, top : top + 1]).mean(axis=1)
    rarer = top / prompts / (UNSEEN * (1 - UNSEEN ** (1 / prompts)))
    apart = np.maximum(shown, found.apart)
    multiples = {f"furthest x {times}": times * shown for times in (1, 2, 4, 8, 16)}
    return multiples | {
        "Hill's tail": sizes[:, top] * rarer**hill,
        "20 deviations": 20 * by_prompt.std(axis=1),
        "values apart": apart,
        "the same x 2": 2 * apart,
        "chosen": np.maximum(apart, MOST_TIMES * shown),
    }


def print_forms(repetitions: int) -> None:
    """Print what each form leaves unwarned, and what it costs."""
    rare = [(0.02, 60), (0.03, 60), (0.02, 100), (0.01, 300)]
    lines = [
        Line(f"a loss of 10 at {chance:.0%}, values {spread:g}", losses(chance), (n,), spread=spread)
        for spread in (0, 1, 3)
        for chance, n in rare
    ]
    sizes = [(0.3, 60), (0.6, 60), (0.1, 300), (0.3, 300), (0.1, 800), (0.3, 800)]
    lines += [
        line._replace(spread=spread, name=f"{line.name}, values {spread}".replace(", no scale", ""))
        for line in ordinary_lines(sizes)
        for spread in (1, 3)
    ]
    heading = ""
    for line in lines:
        rng = np.random.default_rng(zlib.crc32(f"{line.name}|{line.prompts}".encode()))
        (prompts,) = line.prompts
        found = judged(line, line.draw(rng, (repetitions, 3, prompts)), rng)
        said = {name: found.clear & unseen_would_turn(found.means, far, prompts) for name, far in forms(found).items()}
        if not heading:
            heading = f"| world | prompts | {' | '.join(said)} |"
            print(heading, f"|---|---:|{'---:|' * len(said)}", sep="\n")
        silent = found.wrong & ~found.skewed
        cells = [
            f"{100 * (silent & ~one).mean():.1f} / {100 * one.sum() / max(found.clear.sum(), 1):.0f}"
            for one in said.values()
        ]
        print(f"| {line.name} | {prompts} | {' | '.join(cells)} |", flush=True)


def main() -> int:
    """Measure and print all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10_000, help="contrasts a line")
    parser.add_argument("--part", choices=("chosen", "forms"), default="chosen", help="the form chosen, or all")
    options = parser.parse_args()
    repetitions = options.repetitions
    if options.part == "forms":
        print_forms(repetitions)
        return 0
    rows: dict[tuple[str, int], list[Counts]] = {}
    outside = False
    for line in worlds():
        for prompts in line.prompts:
            found = [measure(line, prompts, seeds, repetitions) for seeds in (3, 5)]
            rows.setdefault((line.name, prompts), []).extend(found)
            outside |= max(one.unwarned for one in found) > MOST_ERRORS
    print("| world | prompts | errs | unwarned, skewness alone | unwarned | cautioned: skewed | unseen | beyond |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for (name, prompts), several in rows.items():
        cells = [f"{min(one):.1f} to {max(one):.1f}" for one in zip(*several, strict=True)]
        print(f"| {name} | {prompts} | {' | '.join(cells)} |")
    return int(outside)


if __name__ == "__main__":
    sys.exit(main())
