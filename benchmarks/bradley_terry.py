"""Bradley-Terry's speed and memory: beside the logistic regression on a row a game, and at growing numbers of models.

    python benchmarks/bradley_terry.py                       # 12 models on 200 prompts, then the table up to 333 models
    python benchmarks/bradley_terry.py --models 8 --sizes 8,40

Both ways fit the same games, every two models on every prompt, with errors clustered by prompt: the regression as
statsmodels' GLM on the difference of two indicators (what this package did before), and Newton's method on the games of
each pair. They run in one process, one after the other, and their strengths and errors are compared. The regression's
design has a float a game and model, so the table says what it would hold at each size.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray

from notus_exp.inference.bradley_terry import fit_strengths
from notus_exp.inference.games import games_of_values

Floats = NDArray[np.float64]
MOST_DIFFERENCE = 1e-8


def values_of(models: int, prompts: int) -> Floats:
    """Return values that are prompts, models and noise, shape (models, 1, prompts), rounded so that some games tie."""
    rng = np.random.default_rng(0)
    own, difficulty = rng.normal(0, 0.5, (models, 1, 1)), rng.normal(size=(1, 1, prompts))
    return np.round(own + difficulty + rng.normal(size=(models, 1, prompts)), 1)


def by_pairs(values: Floats) -> dict[str, tuple[float, float]]:
    """Return model -> strength and error, by sums of games."""
    names = [f"m{number:04}" for number in range(len(values))]
    found = fit_strengths(games_of_values(names, values))
    return {one.name: (one.value, one.standard_error) for one in found.strengths if one.name != found.reference}


def by_rows(values: Floats) -> dict[str, tuple[float, float]]:
    """Return the same by a regression with a row a game."""
    models, _, prompts = values.shape
    one, other = np.triu_indices(models, 1)
    difference = values[one, 0] - values[other, 0]
    sides = (np.eye(models)[one] - np.eye(models)[other])[:, 1:]
    design = np.repeat(sides, prompts, axis=0)
    score = (0.5 + 0.5 * np.sign(difference)).ravel()
    groups = np.tile(np.arange(prompts), one.size)
    model = sm.GLM(score, design, family=sm.families.Binomial())
    fitted = model.fit(tol=1e-12, cov_type="cluster", cov_kwds={"groups": groups})
    names = (f"m{number:04}" for number in range(1, models))
    return dict(zip(names, zip(fitted.params, fitted.bse, strict=True), strict=True))


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what work returns, its seconds, and the MiB that it allocates at most (in a second go: tracing slows)."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, seconds, peak / 2**20


def compare(models: int, prompts: int) -> None:
    """Print both ways side by side; stop where they differ."""
    values = values_of(models, prompts)
    ours, ours_seconds, ours_mib = timed(lambda: by_pairs(values))
    theirs, their_seconds, their_mib = timed(lambda: by_rows(values))
    off = max(abs(a - b) / max(1.0, abs(b)) for name in theirs for a, b in zip(ours[name], theirs[name], strict=True))
    games = models * (models - 1) // 2 * prompts
    print(f"{models} models, {prompts} prompts, {games} games; strengths and errors differ by {off:.1e} at most")
    print(f"  a row a game   {their_seconds:9.3f} s  {their_mib:9.1f} MiB")
    print(f"  games of pairs {ours_seconds:9.3f} s  {ours_mib:9.1f} MiB")
    print(f"  ratio          {their_seconds / ours_seconds:9.1f} x  {their_mib / ours_mib:9.1f} x")
    if off > MOST_DIFFERENCE:
        raise SystemExit(f"the two ways differ by more than {MOST_DIFFERENCE:g}")


def grow(sizes: list[int], prompts: int) -> None:
    """Print time and memory of our way by the number of models."""
    print(f"models  games       seconds  MiB      a row a game would hold ({prompts} prompts)")
    for models in sizes:
        values = values_of(models, prompts)
        _, seconds, mib = timed(lambda values=values: by_pairs(values))
        games = models * (models - 1) // 2 * prompts
        print(f"{models:6}  {games:10}  {seconds:7.3f}  {mib:7.1f}  {games * (models - 1) * 8 / 2**30:7.1f} GiB")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=12, help="of the comparison")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--sizes", default="12,50,111,333", help="models of the table")
    options = parser.parse_args()
    compare(options.models, options.prompts)
    grow([int(size) for size in options.sizes.split(",")], options.prompts)


if __name__ == "__main__":
    main()
