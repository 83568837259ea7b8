"""The values of a study's finished runs as tables of seeds by prompts, aligned over arms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from notus_exp.comparison.per_prompt import RunValues
from notus_exp.inference.crossed import Array


class _Aligned(NamedTuple):
    """One metric in all runs: the prompts, and per arm and seed a row of the policy and one of the base model."""

    prompts: list[str]
    policy: dict[str, dict[int, Array]]
    base: dict[str, dict[int, Array]]


class _Asked(NamedTuple):
    """The prompts of one evaluation in all runs, sorted, and per (arm, seed) the places of the rows of its table."""

    prompts: list[str]
    places: dict[tuple[str, int], NDArray[np.intp]]


class Measured:
    """Values by prompt of every finished run; a metric is aligned once, when it is first asked for.

    Args:
        runs: Arm -> seed -> values; an arm without a finished run has no seeds.
    """

    def __init__(self, runs: dict[str, dict[int, RunValues]]) -> None:
        self.runs = runs
        self._asked: dict[str, _Asked] = {}
        self._aligned: dict[str, _Aligned] = {}

    def metrics(self) -> list[str]:
        """Return the metrics that any run has by prompt, in the runs' order."""
        found = (name for by_seed in self.runs.values() for values in by_seed.values() for name in values.metrics())
        return list(dict.fromkeys(found))

    def seeds(self, metric: str, *arms: str) -> list[int]:
        """Return the seeds for which all of these arms have the metric."""
        having = self._of(metric).policy
        return sorted(set.intersection(*({*having.get(arm, {})} for arm in arms)))

    def prompts(self, metric: str) -> list[str]:
        """Return the ids of all prompts that any run has, sorted."""
        return self._of(metric).prompts

    def table(self, metric: str, arm: str, seeds: list[int], *, base: bool = False) -> Array:
        """Return an arm's values, or those of the base model that its runs measured.

        Returns:
            Shape (seeds, prompts), the columns alike for all arms; NaN where missing.
        """
        found = self._of(metric)
        rows = [(found.base if base else found.policy)[arm][seed] for seed in seeds]
        return np.array(rows, dtype=np.float64).reshape(len(seeds), len(found.prompts))

    def base(self, metric: str) -> tuple[Array, bool]:
        """Return the base model's values, shape (1, prompts), and whether all runs agree on them.

        Where they do not, it is their mean. Shape (0, prompts) where no run has any.
        """
        found = self._of(metric)
        rows = np.array([row for by_seed in found.base.values() for row in by_seed.values() if not np.isnan(row).all()])
        if not rows.size:
            return np.empty((0, len(found.prompts))), True
        return rows.mean(axis=0, keepdims=True), bool(np.allclose(rows, rows[0], rtol=0, atol=1e-9, equal_nan=True))

    def most(self, metric: str) -> float | None:
        """Return the largest value that a prompt of any run can have, where the prompts tell it."""
        found = (values.most(metric) for by_seed in self.runs.values() for values in by_seed.values())
        return max((one for one in found if one is not None), default=None)

    def _of(self, metric: str) -> _Aligned:
        if metric not in self._aligned:
            self._aligned[metric] = self._align(metric)
        return self._aligned[metric]

    def _align(self, metric: str) -> _Aligned:
        """Put each run's values where its prompts are, among those that any run has a value of the metric for."""
        asked = self._prompts_of(metric.partition("/")[0])
        having = {}
        is_there = np.zeros(len(asked.prompts), dtype=np.bool_)
        for run, places in asked.places.items():
            known, values = self.runs[run[0]][run[1]].rows(metric)
            if known.any():
                having[run] = places[known], values
                is_there[places[known]] = True
        found = _Aligned([asked.prompts[place] for place in np.flatnonzero(is_there)], {}, {})
        for (arm, seed), (at, values) in having.items():
            known, others = self.runs[arm][seed].rows(metric, base=True)
            sides = (found.policy, at, values), (found.base, asked.places[arm, seed][known], others)
            for side, where, numbers in sides:
                row = np.full(len(asked.prompts), np.nan)
                row[where] = numbers
                side.setdefault(arm, {})[seed] = row[is_there]
        return found

    def _prompts_of(self, evaluation: str) -> _Asked:
        if evaluation not in self._asked:
            found = {
                (arm, seed): values.tables[evaluation]["prompt_id"].to_list()
                for arm, by_seed in self.runs.items()
                for seed, values in by_seed.items()
                if evaluation in values.tables
            }
            prompts = sorted({prompt for ids in found.values() for prompt in ids})
            place = {prompt: number for number, prompt in enumerate(prompts)}
            places = {run: np.array([place[prompt] for prompt in ids], dtype=np.intp) for run, ids in found.items()}
            self._asked[evaluation] = _Asked(prompts, places)
        return self._asked[evaluation]
