"""Forms of the crossed interval that were tried, side by side on the same studies (docs/results/calibration.md).

    python benchmarks/calibration_losers.py              # a few minutes on one core
    python benchmarks/calibration_losers.py --resampling # the two that draw anew for each study: some minutes more
    python benchmarks/calibration_losers.py --cut        # power beside the form before, at a level that keeps the error

Normal studies are drawn as in `calibration.py`. In percent, least to greatest over the points: family-wise error under
Holm where no arm differs and where one surely does, and errors of one contrast at 5 %; at last the power to see three
true standard errors among the contrasts, as a share of the chosen form's, where both have at most 6.5 % errors.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from typing import NamedTuple

import calibration as grid
import numpy as np
from calibration import Array, Form, Point, holm, percent
from numpy.typing import NDArray
from scipy import special

from notus_exp.inference.mixed_t import quantile

WORLDS = [world for world in grid.NORMAL if world.name not in ("prompts alone", "seeds as noise")]
STUDIES = {"alike": ("",), "one arm five times as unstable": ("baseline", "arm")}


class Parts(NamedTuple):
    """What a form may use, each of shape (R, contrasts) but the pool's degrees.

    `prompt` is max(MS_prompt - MS_residual, 0); `pooled` is the seeds' mean square over all arms.
    """

    prompt: Array
    uncut: Array
    seed: Array
    pooled: Array
    degrees_of_pool: int
    n: int
    k: int


def t2(degrees: Array | int, level: float) -> Array:
    """Return the squared two-sided t quantile at a level."""
    return np.asarray(np.square(special.stdtrit(degrees, level / 2)))


def single_t(prompt: Array, seed: Array, n: int, degrees: Array | int, power: float, level: float) -> Array:
    """Return t^2 times the variance with Satterthwaite's degrees; a power below 2 makes them fewer."""
    total = prompt + seed
    free = 1 / ((prompt / total) ** 2 / (n - 1) + (seed / total) ** power / degrees)
    return t2(free, level) * total


def weighted(parts: Parts, level: float, weigh: Callable[[Array], Array], root: float = 1.0) -> Array:
    """Return t^2 times the variance with a weighted mean of the quantiles for prompts and for seeds."""
    total = parts.prompt + parts.seed
    w = weigh(parts.seed / total)
    one, other = t2(parts.n - 1, level) ** root, t2(parts.k - 1, level) ** root
    return ((1 - w) * one + w * other) ** (1 / root) * total


def _chosen(parts: Parts, level: float) -> Array:
    total = parts.prompt + parts.seed
    return np.square(quantile(level, parts.seed / total, prompts=parts.n, seeds=parts.k)) * total


def _guarded(parts: Parts, level: float) -> Array:
    """Pooled, but the contrast's own where it is above the 90 % quantile of F."""
    pooled = single_t(parts.prompt, parts.pooled, parts.n, parts.degrees_of_pool, 2, level)
    apart = parts.seed / parts.pooled > special.fdtri(parts.k - 1, parts.degrees_of_pool, 0.9)
    return np.where(apart, _chosen(parts, level), pooled)


def _larger(parts: Parts, level: float) -> Array:
    """The larger of the own and the pooled mean square, with the degrees of the one taken."""
    own = parts.seed >= parts.pooled
    degrees = np.where(own, parts.k - 1, parts.degrees_of_pool)
    return single_t(parts.prompt, np.maximum(parts.seed, parts.pooled), parts.n, degrees, 2, level)


FORMS: dict[str, Callable[[Parts, float], Array]] = {
    "w = s^2 (2 - s^2) (chosen)": _chosen,
    "Satterthwaite (before)": lambda p, a: single_t(p.prompt, p.seed, p.n, p.k - 1, 2, a),
    "MS_residual not subtracted, Satterthwaite": lambda p, a: single_t(p.uncut, p.seed, p.n, p.k - 1, 2, a),
    "fewer degrees: (K - 1) / s": lambda p, a: single_t(p.prompt, p.seed, p.n, p.k - 1, 1, a),
    "t weighted by s (Cochran and Cox)": lambda p, a: weighted(p, a, lambda s: s, 0.5),
    "w = s (Banerjee)": lambda p, a: weighted(p, a, lambda s: s),
    "w = s^(3/2)": lambda p, a: weighted(p, a, lambda s: s**1.5),
    "w = s^(5/3)": lambda p, a: weighted(p, a, lambda s: s ** (5 / 3)),
    "w = s^2": lambda p, a: weighted(p, a, lambda s: s**2),
    "seeds pooled over arms, Satterthwaite": lambda p, a: single_t(p.prompt, p.pooled, p.n, p.degrees_of_pool, 2, a),
    "the same, own where F says so": _guarded,
    "the larger of own and pooled": _larger,
}


def drawn(point: Point, rng: np.random.Generator, size: int) -> tuple[Array, Parts]:
    """Return the means of the contrasts and what the forms use, in units of the variance of the mean."""
    means, matrices = grid.normal_arms(point, rng, size)
    cells = point.prompts * point.seeds
    prompt, seed, residual = (grid.of_contrasts(one) / cells for one in matrices)
    seeds = matrices[1]
    own = np.einsum("rii->r", seeds) - seeds.sum(axis=(1, 2)) / point.arms
    pooled = np.broadcast_to((2 * own / (point.arms - 1) / cells)[:, None], seed.shape)
    degrees = (point.arms - 1) * (point.seeds - 1)
    parts = Parts(np.maximum(prompt - residual, 0), prompt, seed, pooled, degrees, point.prompts, point.seeds)
    return means[:, 1:] - means[:, :1], parts


def form_of(name: str, parts: Parts) -> Form:
    """Return which contrasts a form calls different at a level, given their means."""
    return lambda means, level: np.asarray(np.square(means) > FORMS[name](parts, level))


def compare(repetitions: int) -> None:
    """Print the table of forms, for studies with arms that are alike and with one that is unstable."""
    for title, quirks in STUDIES.items():
        print(f"\n{title}:\n\n| form | seeds | none differs | one does | single | power |")
        print("|---|---:|---:|---:|---:|---:|")
        for seeds in (3, 5):
            found: dict[str, list[tuple[float, ...]]] = {name: [] for name in FORMS}
            for world, arms, prompts, quirk in itertools.product(WORLDS, grid.ARMS, grid.PROMPTS, quirks):
                point = Point(world, arms, seeds, prompts, quirk)
                means, parts = drawn(point, np.random.default_rng(len(found["w = s (Banerjee)"])), repetitions)
                error = means[:, -1].std()
                last = np.eye(arms - 1)[-1] * error
                for name in FORMS:
                    form = form_of(name, parts)
                    single = form(means, 0.05)
                    others = holm(form, means + 1e3 * last)[:, :-1]
                    rates = percent(holm(form, means).any(axis=1)), percent(others.any(axis=1))
                    errors = [percent(one) for one in single.T]
                    power = percent(form(means + 3 * last, 0.05 / (arms - 1))[:, -1])
                    found[name].append((*rates, min(errors), max(errors), power))
            best = np.array(found[next(iter(FORMS))])
            for name, lines in found.items():
                table = np.array(lines)
                fit = table[:, 1:4:2].max(axis=1) <= grid.MOST_ERRORS
                fit &= table[:, 0] <= grid.MOST_ERRORS
                ratio = 100 * table[fit, 4] / best[fit, 4]
                power = f"{ratio.min():.0f} to {ratio.max():.0f}" if ratio.size else "-"
                spans = f"{_span(table[:, 0])} | {_span(table[:, 1])} | {_span(table[:, 2:4])}"
                print(f"| {name} | {seeds} | {spans} | {power} |", flush=True)


def resampling(studies: int, draws: int) -> None:
    """Print the family-wise error of a joint critical value and of a wild bootstrap-t, in prompt by arm studies."""
    print("\n| resampled | seeds | prompts | family-wise error |\n|---|---:|---:|---:|")
    world = next(world for world in grid.NORMAL if world.name == "prompt by arm")
    for seeds, prompts in itertools.product((3, 5), (100, 300)):
        point, rng = Point(world, 4, seeds, prompts), np.random.default_rng(seeds)
        for name, one in (("joint quantile of the largest t", _joint), ("wild bootstrap-t, two-way", _wild)):
            wrong = percent([one(point, rng, draws) for _ in range(studies)])
            print(f"| {name} | {seeds} | {prompts} | {wrong:.1f} |", flush=True)


def cut(repetitions: int) -> None:
    """Print power as a share of Satterthwaite's, at the one level where its worst error on the grid is the chosen's."""
    print("\n| seeds | arms | worst error | before, uncut | level of 5 % | power: least, median, most |")
    print("|---:|---:|---:|---:|---:|---|")
    for seeds, arms in itertools.product((3, 5), grid.ARMS):
        studies = []
        for world, prompts in itertools.product(grid.NORMAL, grid.PROMPTS):
            means, parts = drawn(Point(world, arms, seeds, prompts), np.random.default_rng(7), repetitions)
            studies.append(
                (means, form_of("w = s^2 (2 - s^2) (chosen)", parts), form_of("Satterthwaite (before)", parts))
            )
        worst = max(percent(holm(form, means).any(axis=1)) for means, form, _ in studies)
        uncut = _worst(studies, 1.0)
        low, high = 0.01, 1.0
        for _ in range(9):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if _worst(studies, middle) <= worst else (low, middle)
        level, ratios = 0.05 / (arms - 1), []
        for means, form, before in studies:
            moved = means + 3 * means[:, -1].std() * np.eye(arms - 1)[-1]
            ratios.append(100 * form(moved, level)[:, -1].mean() / before(moved, low * level)[:, -1].mean())
        power = f"{min(ratios):.0f}, {np.median(ratios):.0f}, {max(ratios):.0f}"
        print(f"| {seeds} | {arms} | {worst:.1f} | {uncut:.1f} | {5 * low:.2f} % | {power} |", flush=True)


def _worst(studies: list[tuple[Array, Form, Form]], factor: float) -> float:
    def at(before: Form) -> Form:
        return lambda means, level: before(means, factor * level)

    return max(percent(holm(at(before), means).any(axis=1)) for means, _, before in studies)


def _table(point: Point, rng: np.random.Generator) -> Array:
    return np.asarray(grid.normal_values(point, rng, 1, 0.0)[0], dtype=np.float64)


def _largest_t(differences: Array) -> Array:
    """Return the largest |t| with the error sqrt((A + MS_seed) / (nK)) of tables (..., contrasts, K, n)."""
    squares = grid.mean_squares(differences)
    total = np.maximum(squares.prompt - squares.residual, 0) + squares.seed
    cells = differences.shape[-1] * differences.shape[-2]
    return np.asarray((np.abs(differences.mean(axis=(-2, -1))) / np.sqrt(total / cells)).max(axis=-1))


def _joint(point: Point, rng: np.random.Generator, draws: int) -> bool:
    """Dunnett's idea: the 95 % quantile of the largest t in studies drawn with this study's estimated variances."""
    values = _table(point, rng)
    seen = _largest_t(values[1:] - values[:1])
    k, n = point.seeds, point.prompts
    squares = grid.mean_squares(values)
    prompt = np.sqrt(np.maximum(squares.prompt - squares.residual, 0) / k)
    seed = np.sqrt(np.maximum(squares.seed - squares.residual, 0) / n)
    shape = (draws, point.arms)
    scale = [one.reshape(1, -1, 1, 1) for one in (prompt, seed, np.sqrt(squares.residual))]
    again = scale[0] * rng.standard_normal((*shape, 1, n)) + scale[1] * rng.standard_normal((*shape, k, 1))
    again = again + scale[2] * rng.standard_normal((*shape, k, n))
    return bool(seen > np.quantile(_largest_t(again[:, 1:] - again[:, :1]), 0.95))


def _wild(point: Point, rng: np.random.Generator, draws: int) -> bool:
    """Draw the signs of prompts and of seeds anew (two-way wild bootstrap), the null imposed; the largest t decides."""
    values = _table(point, rng)
    seen = _largest_t(values[1:] - values[:1])
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    signs = _signs(rng, (draws, 1, point.seeds, 1)) * _signs(rng, (draws, 1, 1, point.prompts))
    by_prompt, by_seed = centred.mean(axis=1, keepdims=True), centred.mean(axis=2, keepdims=True)
    left = centred - by_prompt - by_seed
    again = (
        _signs(rng, (draws, 1, 1, point.prompts)) * by_prompt
        + _signs(rng, (draws, 1, point.seeds, 1)) * by_seed
        + signs * left
    )
    return bool(seen > np.quantile(_largest_t(again[:, 1:] - again[:, :1]), 0.95))


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.integers(0, 2, shape) * 2.0 - 1


def _span(values: Array) -> str:
    return f"{values.min():.1f} to {values.max():.1f}"


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10_000, help="studies a point")
    parser.add_argument("--resampling", action="store_true", help="only the two forms that draw anew for each study")
    parser.add_argument("--cut", action="store_true", help="only the power beside Satterthwaite's form, cut")
    options = parser.parse_args()
    if options.cut:
        cut(options.repetitions)
    elif options.resampling:
        resampling(min(options.repetitions, 1_000), 299)
    else:
        compare(options.repetitions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
