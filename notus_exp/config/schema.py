"""The whole configuration, and what settings it has; those of each group are in the `*_settings.py` beside this file.

They are dataclasses with types and ranges. Values live in conf/ (each key with a comment); the dataclasses say what is
allowed. A field without a default is given by its YAML file. `bounded` attaches a range that `check` enforces,
`in_key=False` says that no key holds the setting (see notus_exp/config/ranges.py). Option names, enum members and
dispatch keys are the same words: Hydra shows members in its messages. Nothing here imports a heavy library.
"""

# mypy: disable-error-code="misc"
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

from notus_exp.config.curation_settings import Filters, PairRule, Rejected, Repair, Selection, Split
from notus_exp.config.data_settings import DATA_SCHEMAS, Data
from notus_exp.config.evaluation_settings import Evaluation
from notus_exp.config.generation_settings import GENERATION_SCHEMAS, Generation
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.judge_settings import JUDGE_SCHEMAS, Judge
from notus_exp.config.ranges import PLACE, bounded, one_of, place, unbounded
from notus_exp.config.rounds_settings import Rounds
from notus_exp.config.score_settings import ScoreItem
from notus_exp.config.sft_settings import SFT_SCHEMAS, Sft
from notus_exp.config.study_settings import Study
from notus_exp.config.training_settings import DPO, Model

Stage = Enum("Stage", ["config", "responses", "feedback", "annotations", "columns", "pairs", "base_model", "sft",
                       "reference",
                       "policy", "generations", "likelihoods", "benchmarks", "judgments", "evaluation"])  # fmt: skip


def reaches(until: Stage, stage: Stage) -> bool:
    """Say whether a run that stops after `until` has a stage; `until=config` plans all of them."""
    return until is Stage.config or stage.value <= until.value


EvaluationSplit = Enum("EvaluationSplit", ["test", "validation"])
Calibrate = Enum("Calibrate", ["studies", "always", "never"])


@dataclass
class Tracking:
    """Where metrics are sent while a run goes on; never part of what it computes."""

    name: str = one_of("wandb", "none", in_key=False)
    project: str = unbounded(in_key=False)
    entity: Optional[str] = unbounded(in_key=False)
    group: Optional[str] = unbounded(in_key=False)
    tags: list[str] = unbounded(in_key=False)
    mode: str = one_of("auto", "online", "offline", in_key=False)
    artifacts: list[str] = one_of("pairs", "model", "weights", in_key=False)


@dataclass
class Config:
    """The whole configuration of one run."""

    seed: int = bounded(least=0, most=2**32 - 1)
    until: Stage = unbounded(in_key=False)
    output_dir: str = place()
    calibrate: Calibrate = unbounded(in_key=False)
    split: Split
    evaluation_split: EvaluationSplit
    data: Data
    repair: Repair
    selection: Selection
    rejected: Rejected
    filters: Filters
    model: Model
    dpo: DPO
    hardware: Hardware
    generation: Generation
    judge: Judge
    tracking: Tracking
    study: Study = unbounded(in_key=False)
    evaluation: Evaluation = field(default_factory=Evaluation)
    scores: list[ScoreItem] = field(default_factory=list)  # of these the columns that an expression names enter keys
    pairs: PairRule = field(default_factory=PairRule)
    annotators: list[Any] = field(default_factory=list)  # likewise; composing makes an `Annotator` of each
    sft: Sft = field(default_factory=Sft)
    rounds: Rounds = field(default_factory=Rounds)


ALTERNATIVES: dict[str, Mapping[str, type[Data | Generation | Judge | Sft]]] = {
    "data": DATA_SCHEMAS,
    "generation": GENERATION_SCHEMAS,
    "judge": JUDGE_SCHEMAS,
    "sft": SFT_SCHEMAS,
}
"""Group -> option -> what it reads, of the groups whose options read different settings."""


ITEM = "[]"
"""Stands in a key for any item of a list or entry of a mapping."""


def takes(key: str, kind: type) -> bool:
    """Say whether the setting of a dotted key takes a list, a text (`str`) or whatever type, by any option."""
    return kind in known_types().get(key, ())


@cache
def known_types() -> dict[str, set[Any]]:
    """Return the types of every setting by its dotted key, over all options of each group.

    What a list or a mapping holds is at its key with `ITEM` behind it.
    """
    return _known_types(Config, "")


def _known_types(kind: Any, path: str) -> dict[str, set[Any]]:
    known: dict[str, set[Any]] = {}
    for name, hint in get_type_hints(kind).items():
        for key, types in _types(f"{path}{name}", hint).items():
            known.setdefault(key, set()).update(types)
        options = ALTERNATIVES.get(f"{path}{name}")
        for child in options.values() if options else filter(is_dataclass, known[f"{path}{name}"]):
            for key, of in _known_types(child, f"{path}{name}.").items():
                known.setdefault(key, set()).update(of)
    return known


def _types(key: str, hint: Any) -> dict[str, set[Any]]:
    """Return the types that a hint admits, and those of what is within a list or a mapping."""
    hints = (hint, *get_args(hint)) if get_origin(hint) is Union else (hint,)
    found = {key: {get_origin(one) or one for one in hints}}
    for one in hints:
        if get_origin(one) in (list, dict):
            found |= _types(f"{key}{ITEM}", get_args(one)[-1])
    return found


@cache
def known_settings() -> dict[str, Field[Any]]:
    """Return every setting by its dotted key, over all options of each group.

    Where several options have a setting, the field is that of one of them which names a place, if any does.
    """
    return _known_settings(Config, "")


def _known_settings(kind: Any, path: str) -> dict[str, Field[Any]]:
    known: dict[str, Field[Any]] = {}
    hints = get_type_hints(kind)
    for spec in fields(kind):
        known[f"{path}{spec.name}"] = spec
        hint = hints[spec.name]
        inner = [one for one in (get_args(hint) if get_origin(hint) is Union else (hint,)) if is_dataclass(one)]
        options = ALTERNATIVES.get(f"{path}{spec.name}")
        for child in options.values() if options else inner:
            for key, setting in _known_settings(child, f"{path}{spec.name}.").items():
                if key not in known or setting.metadata.get(PLACE):
                    known[key] = setting
    return known
