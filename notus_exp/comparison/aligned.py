"""The values of a study's finished runs as tables of seeds by prompts, aligned over arms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from notus_exp.comparison.per_prompt import RunValues, seed_table
from notus_exp.inference.crossed import Array


class _Aligned(NamedTuple):
    """One metric in all runs: the prompts, and per (arm, seed) a row of the policy and one of the base model."""

    prompts: list[str]
    policy: dict[tuple[str, int], Array]
    base: dict[tuple[str, int], Array]


class Measured:
    """Values by prompt of every finished run; a metric is aligned once, when it is first asked for.

    Args:
        runs: Arm -> seed -> values; an arm without a finished run has no seeds.
    """

    def __init__(self, runs: dict[str, dict[int, RunValues]]) -> None:
        self.runs = runs
        self._aligned: dict[str, _Aligned] = {}

    def metrics(self) -> list[str]:
        """Return the metrics that any run has by prompt, in the runs' order."""
        found = (name for by_seed in self.runs.values() for values in by_seed.values() for name in values.metrics())
        return list(dict.fromkeys(found))

    def seeds(self, metric: str, *arms: str) -> list[int]:
        """Return the seeds for which all of these arms have the metric."""
        having = self._of(metric).policy
        return sorted(set.intersection(*({seed for name, seed in having if name == arm} for arm in arms)))

    def prompts(self, metric: str) -> list[str]:
        """Return the ids of all prompts that any run has, sorted."""
        return self._of(metric).prompts

    def table(self, metric: str, arm: str, seeds: list[int], *, base: bool = False) -> Array:
        """Return an arm's values, or those of the base model that its runs measured.

        Returns:
            Shape (seeds, prompts), the columns alike for all arms; NaN where missing.
        """
        found = self._of(metric)
        rows = [(found.base if base else found.policy)[arm, seed] for seed in seeds]
        return np.array(rows, dtype=np.float64).reshape(len(seeds), len(found.prompts))

    def base(self, metric: str) -> tuple[Array, bool]:
        """Return the base model's values, shape (1, prompts), and whether all runs agree on them.

        Where they do not, it is their mean. Shape (0, prompts) where no run has any.
        """
        found = self._of(metric)
        rows = np.array([row for row in found.base.values() if not np.isnan(row).all()])
        if not rows.size:
            return np.empty((0, len(found.prompts))), True
        return rows.mean(axis=0, keepdims=True), bool(np.allclose(rows, rows[0], rtol=0, atol=1e-9, equal_nan=True))

    def most(self, metric: str) -> float | None:
        """Return the largest value that a prompt of any run can have, where the prompts tell it."""
        found = (values.most(metric) for by_seed in self.runs.values() for values in by_seed.values())
        return max((one for one in found if one is not None), default=None)

    def _of(self, metric: str) -> _Aligned:
        if metric not in self._aligned:
            runs = {(arm, seed): values for arm, by_seed in self.runs.items() for seed, values in by_seed.items()}
            policy = {run: column for run, values in runs.items() if (column := values.column(metric))}
            base = {run: runs[run].column(metric, base=True) for run in policy}
            prompts = sorted({prompt for column in policy.values() for prompt in column})
            aligned = ({run: seed_table([row], prompts)[0] for run, row in side.items()} for side in (policy, base))
            self._aligned[metric] = _Aligned(prompts, *aligned)
        return self._aligned[metric]
