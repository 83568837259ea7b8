"""Values of runs as aligned tables: what each row is, prompts that some runs lack, metrics of some prompts only."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from notus_exp.comparison.aligned import Measured
from notus_exp.comparison.per_prompt import RunValues, seed_table
from support.study_folders import prompt

STRICT, KIND = "verifiable/strict", "verifiable/kind/bullets"


def run(numbers: list[int], strict: list[float | None], kind: list[float | None], *, base: bool = True) -> RunValues:
    """The values of a run on some prompts."""
    columns = {"prompt_id": [prompt(number) for number in numbers], STRICT: strict, KIND: kind}
    if base:
        columns |= {f"base/{STRICT}": [0.5] * len(numbers), f"base/{KIND}": kind}
    floats = {name: pl.Float64 for name in columns if name != "prompt_id"}
    return RunValues({"verifiable": pl.DataFrame(columns, schema_overrides=floats)})


@pytest.fixture
def runs() -> dict[str, dict[int, RunValues]]:
    return {
        "one": {
            0: run([3, 1, 2], [0.1, None, 0.3], [None, 1.0, None]),
            1: run([2, 1], [0.4, 0.5], [None, None], base=False),
        },
        "two": {0: run([2, 4], [math.nan, 0.7], [0.0, None])},
        "three": {},
    }


@pytest.mark.parametrize("metric", [STRICT, KIND])
@pytest.mark.parametrize("base", [False, True])
def test_rows_are_the_columns_of_the_runs_over_all_prompts(
    runs: dict[str, dict[int, RunValues]], metric: str, base: bool
) -> None:
    measured = Measured(runs)
    columns = {(arm, seed): values.column(metric) for arm, by_seed in runs.items() for seed, values in by_seed.items()}
    having = {one: column for one, column in columns.items() if column}
    prompts = sorted({name for column in having.values() for name in column})
    assert measured.prompts(metric) == prompts
    for arm, by_seed in runs.items():
        seeds = [seed for seed in by_seed if (arm, seed) in having]
        assert measured.seeds(metric, arm) == seeds
        expected = seed_table([by_seed[seed].column(metric, base=base) for seed in seeds], prompts)
        np.testing.assert_array_equal(measured.table(metric, arm, seeds, base=base), expected)


def test_a_metric_of_some_prompts_has_those_alone(runs: dict[str, dict[int, RunValues]]) -> None:
    measured = Measured(runs)
    assert measured.prompts(KIND) == sorted([prompt(1), prompt(2)])
    assert measured.seeds(KIND, "one") == [0]  # with seed 1 no prompt has a value
    assert measured.seeds(KIND, "one", "two") == [0]
    assert measured.seeds(STRICT, "one", "three") == []
    assert measured.prompts("mt_bench/score") == []
