"""The settings of a study as dataclasses; values are in conf/config.yaml and sweeps/study/."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from notus_exp.config.ranges import bounded, one_of, place, unbounded

FIXED = ("output_dir", "until", "evaluation_split", "split", "seed", "study", "hydra")
"""Keys that are the same in all arms of a study, or are set by it."""


@dataclass
class Tuning:
    """The small search by which `study.tune` settles a setting for each arm, on validation prompts.

    `values` holds the candidates by setting, `seeds` those that a candidate is tried with.
    """

    values: dict[str, list[Any]]
    seeds: list[int] = bounded(least=0, most=2**32 - 1)
    metric: Optional[str]
    direction: str = one_of("maximize", "minimize")


@dataclass
class Search:
    """A search by Optuna; one without `parameters` is none."""

    parameters: dict[str, Any]
    objectives: dict[str, str] = one_of("maximize", "minimize")
    constraints: dict[str, Any]
    sampler: str = one_of("tpe", "random", "grid")
    seed: int = bounded(least=0, most=2**32 - 1)
    pruner: str = one_of("none", "median", "asha", "hyperband")
    prune_on: str
    prune_direction: str = one_of("maximize", "minimize")
    trials: int = bounded(least=1)
    concurrency: int = bounded(least=1)
    storage: Optional[str] = place(address="")
    lease: float = bounded(above=0)


@dataclass
class Study:
    """Which runs make up a study and what it asks; exactly one of `arms`, `grid` and `search.parameters` is given.

    With `match_size` arms that have not equally many training pairs are refused before anything is trained.
    `arm` and `trial` say which part of the study a run is. They are set by the study, not by hand.
    """

    name: Optional[str]
    arms: dict[str, list[str]]
    grid: dict[str, list[Any]]
    seeds: list[int] = bounded(least=0, most=2**32 - 1)
    metric: str
    baseline: Optional[str]
    margin: Optional[float] = bounded(above=0)
    max_hours: Optional[float] = bounded(above=0)
    max_cost: Optional[float] = bounded(least=0)
    batch: Optional[int] = bounded(least=1)
    tune: list[str]
    tuning: Tuning
    search: Search
    arm: Optional[str]
    trial: Optional[int] = bounded(least=0)
    match_size: bool = unbounded(default=False)  # configs of before have none
