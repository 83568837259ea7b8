"""The settings of the group `data`: the feedback that a run reads or makes, and how its file is read."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

from notus_exp.config.mapping_settings import Layout
from notus_exp.config.ranges import bounded, place, unbounded

RepeatedPrompts = Enum("RepeatedPrompts", ["strip", "keep"])
FORMATS = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".json": "json", ".jsonl.gz": "jsonl", ".json.gz": "json",
    ".csv": "csv", ".arrow": "arrow", ".jsonl.zst": "jsonl", ".json.zst": "json", ".csv.gz": "csv", ".csv.zst": "csv",
}  # fmt: skip
"""Ending of a data file's name -> how it is read."""
FORMER = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz")
"""Those that were read from the beginning: of a folder that has such files the others are not read."""
ENDINGS = ".parquet, .jsonl, .json, .csv or .arrow; .gz or .zst may follow .jsonl, .json and .csv"
"""What a data file's name ends in, in words."""
SIMULATED_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
"""What the simulated annotators rate."""


@dataclass
class Data:
    """What every source of feedback has."""

    name: str
    aspects: list[str]
    max_bad_rows: int = bounded(least=0)


@dataclass
class FileData(Data):
    """Feedback read from local files or from a dataset on the hub: exactly one of `path` and `hub_id`."""

    path: Optional[str] = place()  # a digest of the files stands for it, and the commit for `revision`
    hub_id: Optional[str] = unbounded(unless="path")
    hub_split: Optional[str] = unbounded(unless="path")  # of a folder too: then its files' digest stands for it
    revision: str = unbounded(in_key=False)
    repeated_prompts: RepeatedPrompts  # in every key: how files are read has changed in other ways together with it


@dataclass
class UltraFeedback(FileData):
    """OpenBMB's layout: one row a prompt with its completions and annotations.

    `expected_prompts` is how many the hub's dataset has, which a forecast reads before it is there.
    """

    expected_prompts: Optional[int] = bounded(least=1, in_key=False, default=None)


@dataclass
class Rated(FileData):
    """One row per rated completion; the rating columns are `aspects`."""

    prompt_column: str
    response_column: str
    model_column: Optional[str]
    source_column: Optional[str]
    overall_column: Optional[str]
    critique_column: Optional[str]


@dataclass
class Pairs(FileData):
    """Already binarised rows: prompt, chosen, rejected."""

    prompt_column: str
    chosen_column: str
    rejected_column: str
    chosen_score_column: Optional[str]
    rejected_score_column: Optional[str]
    source_column: Optional[str]


@dataclass
class PromptsAlone(FileData):
    """One row a prompt, without answers: for `data.prompts` of `data=made`."""

    prompt_column: str
    source_column: Optional[str]


@dataclass
class Mapped(FileData):
    """Any layout that `mapping` describes; presets are options whose file holds such a mapping."""

    mapping: Layout


@dataclass
class Simulated(Data):
    """A world whose true quality is known; see notus_exp/feedback/simulated/."""

    seed: int = bounded(least=0)
    prompts: int = bounded(least=1, most=5_000_000)
    min_constraints: int = bounded(least=1, most=3)
    max_constraints: int = bounded(least=1, most=3)
    statements: int = bounded(least=1, most=3, since=1)
    skills: dict[str, float]
    rating_noise: float = bounded(least=0)
    overall_noise: float = bounded(least=0)
    missing_rate: float = bounded(least=0, most=1)
    overall_missing_rate: float = bounded(least=0, most=1)
    inverted_score_rate: float = bounded(least=0, most=1)


@dataclass
class MixSource:
    """One source of a mix: another option of the group with its settings, composed."""

    corpus: str
    weight: Optional[float] = bounded(above=0)
    data: Data


@dataclass
class Mix(Data):
    """Several sources in one table; `aspects` are those of all of them, and each has its own `max_bad_rows`.

    As given, a source is a mapping with the name of an option at `data`, that option's settings that are to be other
    than its own, and `weight` and `corpus`; composing makes a `MixSource` of it (mix_sources.py).
    """

    sources: list[Any]
    prompts: Optional[int] = bounded(least=1)
    seed: int = bounded(least=0)


@dataclass
class MadeFeedback(Data):
    """Feedback that is made here: writers answer prompts, and a judge rates the answers by each of `aspects`.

    As given, `prompts` is a mapping with the name of an option at `data` and settings of it, each of `writers` a
    mapping, and `judge` one of the settings of a judge; composing makes a `Data`, a `Writer` each and a `Judge` of them
    (made_items.py). The judge, and the digests of `rubrics`, are in the keys of what is rated.
    """

    prompts: Any
    max_prompts: Optional[int] = bounded(least=1)
    seed: int = bounded(least=0)
    per_prompt: int = bounded(least=1)
    rubrics: dict[str, str] = place()
    principles: dict[str, dict[str, Any]]
    writers: list[Any]
    judge: Any = unbounded(in_key=False)
    budget: Optional[float] = bounded(above=0, in_key=False)


DATA_SCHEMAS: dict[str, type[Data]] = {
    "ultrafeedback": UltraFeedback,
    "rated": Rated,
    "pairs": Pairs,
    "mapped": Mapped,
    "simulated": Simulated,
    "mix": Mix,
    "prompts": PromptsAlone,
    "made": MadeFeedback,
}


def data_kind(data: Mapping[str, Any]) -> type[Data] | None:
    """Return what reads a data group, given as plain values: by its mapping or its name; None for a name unknown."""
    return Mapped if "mapping" in data else DATA_SCHEMAS.get(str(data.get("name")))


def has_overall(data: Data) -> bool:
    """Say whether the completions of an option have an overall score, as its settings describe it."""
    if isinstance(data, Rated):
        return data.overall_column is not None
    if isinstance(data, Mapped):
        return any(entry.score is not None or entry.side is not None for entry in data.mapping.completions)
    return not isinstance(data, PromptsAlone)
