"""Are the conclusions of studies honest? Simulated studies with known truth, on a named grid.

    python benchmarks/calibration.py --out FOLDER                  # all; goes on where it was
    python benchmarks/calibration.py --out FOLDER --part normal    # or unstable, tables, misses

A line is a world (which variances), how many arms, seeds and prompts, and which arm's seeds scatter five times as much.
The arms are compared with the first by `crossed_mean`'s form and Holm. In percent:

- family: studies that call any arm different that is not, where none is, and where the last arm surely is;
- single: the most and the least errors of one contrast at 5 %, and coverage of the better arm's interval;
- power at three true standard errors (of a share at most 0.25), at 5 % and at 5 % over the contrasts, and what
  `notus_exp.power` predicts for each;
- today: the family-wise error of Satterthwaite's degrees, and its power where it is cut to the same true error;
- unwarned: studies with an error that carries no caution in its words, where tables are drawn.

Normal worlds are drawn as mean squares and means (Wishart matrices over the arms), all others as tables. The exit code
is 1 where a line outside "known to miss" has more than 6.5 % errors of any kind, or power is predicted wrongly by more
than 4 points.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from notus_exp.comparison.cautions import MOST_SKEWED
from notus_exp.inference.crossed import Components, MeanSquares, crossed_interval, mean_squares, skewness_of_mean
from notus_exp.inference.mixed_t import quantile
from notus_exp.inference.power import Design, power

Array = NDArray[np.float64]
Deviations = tuple[float, float, float]
Form = Callable[[Array, float], Array]

MOST_ERRORS = 6.5
MOST_APART = 4.0
ARMS = (3, 4, 8)
SEEDS = (3, 5)
PROMPTS = (50, 200, 800)
UNSTABLE = 5.0
MOST_SHARE = 0.25
"""Largest effect on a share: beyond it an arm would have to be right more often than always."""

CHUNK = 4_000_000
"""Values in one array at most."""


class World(NamedTuple):
    """Where studies come from.

    Attributes:
        name: What it is.
        deviations: Of seeds (K) and prompts (n) to the standard deviations of prompt, seed and residual: of a
            difference of two arms, for yes and no of an arm.
        kind: How values are drawn, a key of `DRAWN`.
        rate: Share that an arm gets right, for yes and no.
    """

    name: str
    deviations: Callable[[int, int], Deviations]
    kind: str = "normal"
    rate: float = 0.0


class Point(NamedTuple):
    """One line. `quirk`: "", "baseline" or "arm" for the one whose seeds scatter five times as much, "shared"."""

    world: World
    arms: int
    seeds: int
    prompts: int
    quirk: str = ""

    @property
    def name(self) -> str:
        """The line's name in the files."""
        return "|".join(map(str, (self.world.name, self.arms, self.seeds, self.prompts, self.quirk)))


class Sample(NamedTuple):
    """Many studies' contrasts with the baseline, shape (R, arms - 1).

    Attributes:
        means: Of the differences.
        squares: Theirs.
        prompts: Prompts of each contrast.
        skewness: Of the means by prompts; None for normal worlds.
    """

    means: Array
    squares: MeanSquares
    prompts: int
    skewness: Array | None


def constant(*deviations: float) -> Callable[[int, int], Deviations]:
    """Return the same three deviations, of prompts, seeds and residual, for any numbers of seeds and prompts."""
    prompt, seed, residual = deviations
    return lambda _seeds, _prompts: (prompt, seed, residual)


def mixed(share: float) -> Callable[[int, int], Deviations]:
    """Return deviations where the prompts' part of the variance of the mean is `share` of the seeds' and residual's."""
    return lambda seeds, prompts: (math.sqrt(share * (prompts * 0.09 + 1) / seeds), 0.3, 1.0)


NORMAL = [
    World("pure noise", constant(0, 0, 1)),
    World("prompts alone", constant(1, 0, 0.5)),
    World("prompts dominate", constant(2, 0.02, 1)),
    World("accuracy-like", constant(0.4, 0.02, 0.35)),
    World("prompt by arm", constant(0.5, 0.1, 1)),
    World("seeds as noise", lambda _, prompts: (0.0, 1 / math.sqrt(prompts), 1.0)),
    World("prompts thrice the seeds", mixed(3.0)),
    World("prompts as seeds", mixed(1.0)),
    World("few prompts' part", mixed(0.15)),
    World("seeds dominate", constant(0.2, 1, 0.2)),
]
HEAVY = [
    World("heavy tails", constant(0.5, 0.1, 1), "heavy"),
    World("heavy tails, seeds too", constant(0.2, 0.3, 0.5), "heavy"),
    World("a tenth missing", constant(0.5, 0.1, 1), "missing"),
]
BINARY = [
    World("yes/no: noise", constant(0, 0, 1), "binary", 0.5),
    World("yes/no: seeds small", constant(0.5, 0.05, 0.5), "binary", 0.5),
    World("yes/no: seeds large", constant(0.5, 0.3, 0.5), "binary", 0.5),
    World("yes/no: seeds dominate", constant(0.2, 1, 0.2), "binary", 0.5),
    World("yes/no: one in ten", constant(0.5, 0.05, 0.5), "binary", 0.1),
]
RARE = [
    World("yes/no: 1 in 10, stable", constant(0, 0, 0.3), "binary", 0.1),
    World("yes/no: 1 in 33, stable", constant(0, 0, 0.3), "binary", 0.03),
    World("yes/no: 1 in 10, wild seeds", constant(0.2, 1, 0.2), "binary", 0.1),
]
GAINS = World("rare large gains", constant(0.5, 0.1, 1), "gains")


def points(part: str) -> list[Point]:
    """Return the lines of a part of the grid."""
    sizes = list(itertools.product(ARMS, SEEDS, PROMPTS))
    uneven = [world for world in NORMAL if world.deviations(3, 200)[1] > 0]
    return {
        "normal": [Point(world, *size) for world in NORMAL for size in sizes],
        "unstable": [
            Point(world, *size, quirk) for world in uneven for quirk in ("baseline", "arm", "shared") for size in sizes
        ],
        "tables": [Point(world, *size) for world in BINARY + HEAVY for size in sizes if size[2] < 800 or size[0] == 4],
        "misses": [
            *(Point(world, arms, 2, prompts) for world in NORMAL for arms in (4, 8) for prompts in PROMPTS),
            *(Point(world, 20, 3, prompts) for world in NORMAL for prompts in PROMPTS),
            *(Point(world, 4, seeds, prompts) for world in RARE for seeds in SEEDS for prompts in PROMPTS),
            *(Point(GAINS, 4, seeds, prompts) for seeds in SEEDS for prompts in (60, 300, 800)),
        ],
    }[part]


PARTS = ("normal", "unstable", "tables", "misses")


def of_arms(point: Point) -> tuple[Array, Array, Array, float]:
    """Return the deviations of each arm, shape (arms,) each, and that which all arms' seeds share."""
    prompt, seed, residual = (one / math.sqrt(2) for one in point.world.deviations(point.seeds, point.prompts))
    scale = np.ones(point.arms)
    if point.quirk in ("baseline", "arm"):
        scale[1 if point.quirk == "arm" else 0] = UNSTABLE
    ones = np.ones(point.arms)
    return prompt * ones, seed * scale, residual * ones, seed if point.quirk == "shared" else 0.0


def wishart(rng: np.random.Generator, degrees: int, covariance: Array, size: int) -> Array:
    """Return mean square matrices, shape (size, arms, arms), by Bartlett's decomposition or from few normals."""
    arms = len(covariance)
    root = np.linalg.cholesky(covariance + 1e-14 * np.eye(arms))
    if degrees < arms:
        drawn = rng.standard_normal((size, degrees, arms)) @ root.T
        return np.asarray(drawn.transpose(0, 2, 1) @ drawn / degrees)
    lower = np.zeros((size, arms, arms))
    for row in range(arms):
        lower[:, row, row] = np.sqrt(rng.chisquare(degrees - row, size))
        lower[:, row, :row] = rng.standard_normal((size, row))
    lower = root @ lower
    return np.asarray(lower @ lower.transpose(0, 2, 1) / degrees)


def normal_sample(point: Point, rng: np.random.Generator, size: int) -> Sample:
    """Draw means and mean squares of normal studies."""
    means, squares = normal_arms(point, rng, size)
    return Sample(means[:, 1:] - means[:, :1], MeanSquares(*map(of_contrasts, squares)), point.prompts, None)


def normal_arms(point: Point, rng: np.random.Generator, size: int) -> tuple[Array, list[Array]]:
    """Draw the arms' means, shape (size, arms), and their matrices of prompts', seeds' and residual mean squares."""
    n, k = point.prompts, point.seeds
    prompt, seed, residual, common = of_arms(point)
    left = np.diag(residual**2)
    by_prompt, by_seed = k * np.diag(prompt**2) + left, n * (np.diag(seed**2) + common**2) + left
    total = (by_prompt + by_seed - left) / (n * k)
    means = rng.standard_normal((size, point.arms)) @ np.linalg.cholesky(total).T
    degrees = (n - 1, k - 1, (n - 1) * (k - 1))
    drawn = [wishart(rng, free, one, size) for free, one in zip(degrees, (by_prompt, by_seed, left), strict=True)]
    return means, drawn


def of_contrasts(matrices: Array) -> Array:
    """Return the arms' differences from arm 0, shape (size, arms - 1), of matrices of the arms' mean squares."""
    own = np.diagonal(matrices, axis1=1, axis2=2)
    return np.asarray(own[:, 1:] + own[:, :1] - 2 * matrices[:, 0, 1:])


def heavy_values(point: Point, rng: np.random.Generator, some: int, _: float) -> Array:
    """Return values whose three parts are t with 3 degrees of freedom, of the same variances."""

    def drawn(deviation: Array, shape: tuple[int, ...]) -> Array:
        normal = rng.standard_normal((4, *shape), dtype=np.float32)
        return _scaled(deviation, normal[0] / np.sqrt(np.square(normal[1:]).sum(axis=0)))  # t / sqrt(3)

    return _sum_of_parts(point, some, drawn)


def normal_values(point: Point, rng: np.random.Generator, some: int, _: float) -> Array:
    """Return values whose three parts are normal."""

    def drawn(deviation: Array, shape: tuple[int, ...]) -> Array:
        return _scaled(deviation, rng.standard_normal(shape, dtype=np.float32))

    return _sum_of_parts(point, some, drawn)


def gains_values(point: Point, rng: np.random.Generator, some: int, _: float) -> Array:
    """Return normal values where arm 1 gains a lognormal (sigma 1.5) on each prompt, less its mean."""
    values = normal_values(point, rng, some, 0.0)
    gains = np.exp(1.5 * rng.standard_normal((some, 1, point.prompts), dtype=np.float32)) - math.exp(1.5**2 / 2)
    values[:, 1] += gains
    return values


def _scaled(deviation: Array, drawn: Any) -> Any:
    return deviation.astype(np.float32).reshape(1, -1, 1, 1) * drawn


def _sum_of_parts(point: Point, some: int, drawn: Callable[[Array, tuple[int, ...]], Array]) -> Array:
    prompt, seed, residual, _ = of_arms(point)
    arms, k, n = point.arms, point.seeds, point.prompts
    return drawn(prompt, (some, arms, 1, n)) + drawn(seed, (some, arms, k, 1)) + drawn(residual, (some, arms, k, n))


def binary_values(point: Point, rng: np.random.Generator, some: int, effect: float) -> Array:
    """Return 0 and 1: right where the prompt's ease, the arm's prompt and seed effects and noise are high together."""
    prompt, seed, residual = point.world.deviations(point.seeds, point.prompts)
    shape = (some, point.arms, point.seeds, point.prompts)
    latent = residual * rng.standard_normal(shape, dtype=np.float32)
    latent += rng.standard_normal((some, 1, 1, point.prompts), dtype=np.float32)
    latent += prompt * rng.standard_normal((some, point.arms, 1, point.prompts), dtype=np.float32)
    latent += seed * rng.standard_normal((some, point.arms, point.seeds, 1), dtype=np.float32)
    share = np.full(point.arms, point.world.rate)
    share[-1] += effect
    cut = -math.sqrt(1 + prompt**2 + seed**2 + residual**2) * stats.norm.ppf(share)
    return np.asarray(latent > cut.reshape(1, -1, 1, 1), dtype=np.float32)


DRAWN: dict[str, Callable[[Point, np.random.Generator, int, float], Array]] = {
    "heavy": heavy_values,
    "missing": normal_values,
    "binary": binary_values,
    "gains": gains_values,
}


def drawn_sample(point: Point, rng: np.random.Generator, size: int, effect: float = 0.0) -> Sample:
    """Draw studies as tables. Where a tenth is missing, each contrast keeps as many prompts, others for each study."""
    kept = point.prompts
    parts: list[tuple[Array, MeanSquares, Array]] = []
    step = max(CHUNK // (point.arms * point.seeds * point.prompts), 1)
    for start in range(0, size, step):
        values = DRAWN[point.world.kind](point, rng, min(step, size - start), effect)
        differences = values[:, 1:] - values[:, :1]
        if point.world.kind == "missing":  # which prompts are missing says nothing, so any will do; per contrast others
            kept = round(0.9 * point.prompts)
            chosen = [rng.permutation(point.prompts)[:kept] for _ in range(point.arms - 1)]
            differences = np.stack([differences[:, arm][..., one] for arm, one in enumerate(chosen)], axis=1)
        by_prompt = differences.mean(axis=2)
        squares = MeanSquares(*(part.astype(np.float64) for part in mean_squares(differences)))
        parts.append((by_prompt.mean(axis=-1, dtype=np.float64), squares, _skewness(by_prompt, squares, point.seeds)))
    means, by_chunk, skewed = zip(*parts, strict=True)
    joined = MeanSquares(*(np.concatenate(one) for one in zip(*by_chunk, strict=True)))
    return Sample(np.concatenate(means), joined, kept, np.concatenate(skewed))


def _skewness(by_prompt: Array, squares: MeanSquares, seeds: int) -> Array:
    sample = Sample(by_prompt, squares, by_prompt.shape[-1], None)
    error = tested(sample, seeds).error
    return skewness_of_mean(by_prompt.astype(np.float64), error)


class Tested(NamedTuple):
    """Standard errors and seeds' shares of a sample, and which contrasts have an error at all."""

    error: Array
    share: Array
    known: NDArray[np.bool_]


def tested(sample: Sample, seeds: int) -> Tested:
    """Return what the product's form makes of a sample; differences that are all alike (yes/no) have no test."""
    known = sum(sample.squares) > 0
    squares = MeanSquares(*(np.where(known, part, 1.0) for part in sample.squares))
    found = crossed_interval(0.0, squares, prompts=sample.prompts, seeds=seeds)
    return Tested(found.standard_error, found.seed_share, known)


def mixed_form(sample: Sample, seeds: int, found: Tested) -> Form:
    """Return which contrasts the product calls different at a level, given their means."""
    return lambda means, level: (
        found.known & (np.abs(means) > quantile(level, found.share, prompts=sample.prompts, seeds=seeds) * found.error)
    )


def satterthwaite_degrees(sample: Sample, seeds: int, found: Tested) -> Array:
    """Return each contrast's degrees of freedom by Satterthwaite's formula, rounded down."""
    share = np.asarray(found.share)
    ratio = 1 / ((1 - share) ** 2 / (sample.prompts - 1) + share**2 / (seeds - 1))
    return np.asarray(np.floor(ratio * (1 + 1e-9)))


def satterthwaite_form(sample: Sample, seeds: int, found: Tested) -> Form:
    """Return the same of the form that was used before."""
    degrees = satterthwaite_degrees(sample, seeds, found)
    return lambda means, level: found.known & (np.abs(means) > special.stdtrit(degrees, 1 - level / 2) * found.error)


def holm(form: Form, means: Array) -> NDArray[np.bool_]:
    """Return which contrasts Holm's correction calls different: its steps, as rejections at each of their levels."""
    size, family = means.shape
    at = np.stack([form(means, 0.05 / (family - done)) for done in range(family)])
    done = np.zeros(size, dtype=int)
    for _ in range(family):
        step = np.minimum(done, family - 1)
        done = np.maximum(done, at[step, np.arange(size)].sum(axis=1))
    return np.asarray(at[np.minimum(done, family - 1), np.arange(size)])


def percent(found: Any) -> float:
    """Return how many of truths are true, in percent."""
    return 100 * float(np.mean(found))


def measure(point: Point, repetitions: int) -> dict[str, float]:
    """Simulate one line."""
    rng = np.random.default_rng(zlib.crc32(point.name.encode()))
    binary, normal = point.world.kind == "binary", point.world.kind == "normal"
    null = (normal_sample if normal else drawn_sample)(point, rng, repetitions)
    k, n, family = point.seeds, null.prompts, point.arms - 1
    found = tested(null, k)
    form, before = mixed_form(null, k, found), satterthwaite_form(null, k, found)
    true_error = float(null.means[:, -1].std(ddof=1))
    effect = min(3 * true_error, MOST_SHARE) if binary else 3 * true_error
    single = form(null.means, 0.05)
    line = {
        "family": percent(holm(form, null.means).any(axis=1)),
        "single_most": max(percent(one) for one in single.T),
        "single_least": min(percent(one) for one in single.T),
        "family_before": percent(holm(before, null.means).any(axis=1)),
    }
    if null.skewness is not None:
        silent = np.abs(null.skewness) <= MOST_SKEWED
        line["unwarned"] = percent((holm(form, null.means) & silent).any(axis=1))
        line["unwarned_single"] = max(percent(one) for one in (single & silent).T)
    other = drawn_sample(point, rng, repetitions, effect) if binary else null
    judged = tested(other, k)
    form_of = mixed_form(other, k, judged)
    better = np.zeros(family)
    better[-1] = 0.0 if binary else effect
    sure = np.zeros(family)
    sure[-1] = 0.0 if binary else 1e3 * true_error
    line["family_partial"] = percent(holm(form_of, other.means + sure)[:, :-1].any(axis=1))
    moved = other.means + better
    seen = {level: form_of(moved, level)[:, -1] for level in (0.05, 0.05 / family)}
    line["coverage"] = 100 - percent(form_of(moved - np.eye(family)[-1] * effect, 0.05)[:, -1])
    averages = [float(part[:, -1].mean()) for part in other.squares]
    if normal:
        parts = of_arms(point)
        variances = Components(*(float(one[0] ** 2 + one[-1] ** 2) for one in parts[:3]))
    else:
        prompt, seed, residual = averages
        variances = Components(max((prompt - residual) / k, 0.0), max((seed - residual) / n, 0.0), residual)
    degrees = satterthwaite_degrees(other, k, judged)[:, -1]
    for label, level in (("", 0.05), ("_family", 0.05 / family)):
        line[f"power{label}"] = percent(seen[level])
        line[f"predicted{label}"] = 100 * power(variances, effect, Design(n, k, 1 - level)).value
        line[f"before{label}"] = _before_at_the_same_error(
            null, found, satterthwaite_degrees(null, k, found)[:, -1], form(null.means, level)[:, -1],
            np.abs(moved[:, -1]) / judged.error[:, -1], degrees,
        )  # fmt: skip
    return line


def _before_at_the_same_error(
    null: Sample, found: Tested, degrees: Array, wrong: NDArray[np.bool_], ratios: Array, degrees_of: Array
) -> float:
    """Return the power of Satterthwaite's p where its cut is such that it errs as often as the product's form."""
    ps = 2 * special.stdtr(degrees, -np.abs(null.means[:, -1]) / found.error[:, -1])
    cut = np.quantile(ps, wrong.mean())
    return percent(2 * special.stdtr(degrees_of, -ratios) <= cut)


def kept(path: Path) -> dict[str, dict[str, str]]:
    """Return the lines that are already there, by their point's name."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["point"]: row for row in csv.DictReader(file)}


COLUMNS = (
    "point", "repetitions", "family", "family_partial", "single_most", "single_least", "coverage", "unwarned",
    "unwarned_single", "power", "predicted", "before", "power_family", "predicted_family", "before_family",
    "family_before",
)  # fmt: skip


def fill(part: str, folder: Path, repetitions: int) -> Iterator[tuple[Point, dict[str, str]]]:
    """Yield the lines of a part, simulating those that its file lacks and appending them."""
    path = folder / f"{part}.csv"
    done = kept(path)
    for point in points(part):
        row = done.get(point.name)
        if row is None:
            line = measure(point, repetitions)
            row = {"point": point.name, "repetitions": str(repetitions)}
            row |= {name: f"{value:.2f}" for name, value in line.items()}
            fresh = not path.exists()
            with path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
        yield point, row


def table(rows: Iterable[tuple[Point, dict[str, str]]]) -> None:
    """Print a part as a table in Markdown: least to greatest over the numbers of prompts and arms."""
    groups: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for point, row in rows:
        values = {name: float(row.get(name) or math.nan) for name in COLUMNS[2:]}
        groups.setdefault((point.world.name, point.quirk, point.seeds), []).append(values)
    columns = [
        "none differs",
        "one does",
        "before",
        "single",
        "coverage",
        "power",
        "predicted",
        "of before",
        "unwarned",
    ]
    print(f"| world | seeds | {' | '.join(columns)} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for (world, quirk, seeds), lines in groups.items():
        ratio = [100 * line["power_family"] / line["before_family"] for line in lines if line["before_family"] > 5]
        cells = [
            span(line["family"] for line in lines), span(line["family_partial"] for line in lines),
            span(line["family_before"] for line in lines),
            span(value for line in lines for value in (line["single_least"], line["single_most"])),
            span(line["coverage"] for line in lines), span(line["power_family"] for line in lines),
            span(line["predicted_family"] for line in lines), span(ratio), span(line["unwarned"] for line in lines),
        ]  # fmt: skip
        print(f"| {world}{', ' * bool(quirk)}{quirk} | {seeds} | {' | '.join(cells)} |")


def span(values: Iterable[float]) -> str:
    """Return the least and the most of the values that are known, as text."""
    known = [value for value in values if not math.isnan(value)]
    return f"{min(known):.1f} to {max(known):.1f}" if known else "-"


def judge(rows: Iterable[tuple[Point, dict[str, str]]]) -> list[str]:
    """Return what is out of bounds."""
    found = []
    for point, row in rows:
        errors = [float(row[name]) for name in ("family", "family_partial", "single_most")]
        apart = max((float(row[f"predicted{one}"]) - float(row[f"power{one}"]) for one in ("", "_family")), key=abs)
        outside = apart if point.world.kind == "heavy" else abs(apart)  # where seeds are wild, it promises too little
        if max(errors) > MOST_ERRORS or outside > MOST_APART:
            found.append(f"{point.name}: errors {errors}, prediction apart by {apart:.1f}")
    return found


def main() -> int:
    """Measure the grid and what is known to miss; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the lines; those that are there stay")
    parser.add_argument("--part", choices=PARTS, help="one part of the grid (default: all)")
    parser.add_argument("--repetitions", type=int, default=10_000, help="studies a line")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    outside: list[str] = []
    for part in [options.part] if options.part else PARTS:
        began = time.perf_counter()
        rows = list(fill(part, options.out, options.repetitions))
        print(f"\n{part}: {len(rows)} lines, {time.perf_counter() - began:.0f} s\n")
        table(rows)
        outside += judge(rows) if part != "misses" else []
    print(f"\nMonte Carlo error of a share of 5 %: {100 * math.sqrt(0.05 * 0.95 / options.repetitions):.2f} points.")
    print(*outside, sep="\n")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
