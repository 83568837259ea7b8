"""What each stage receives: exactly the settings that its key hashes. Fields are JSON or dataclasses of schema.py."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Optional, TypeVar, get_args, get_origin, get_type_hints

from notus_exp.schema import (
    DPO,
    Filters,
    Model,
    PreferencesEvaluation,
    Rejected,
    Repair,
    Selection,
    Split,
    VerifiableEvaluation,
)


@dataclass
class FeedbackSlice:
    """`data` is the data group as a dict without paths; `data_digest` stands for its files' content or hub commit."""

    data: dict[str, Any]
    data_digest: Optional[str]


@dataclass
class PairsSlice:
    """Everything curation depends on. `contamination_digests` are the sha256 of the benchmark files' content."""

    aspects: list[str]
    repair: Repair
    selection: Selection
    rejected: Rejected
    filters: Filters
    contamination_digests: list[str]
    split: Split
    seed: int


@dataclass
class BaseModelSlice:
    """`model_digest` stands for the GGUF file, the folder's content or the hub commit; null for random weights."""

    model: Model
    model_digest: Optional[str]


@dataclass
class ReferenceSlice:
    """Which completions need a reference log-prob, and how they are tokenised and computed."""

    split: Split
    system_prompt: Optional[str]
    precision: str
    max_length: int
    max_prompt_length: Optional[int]
    long_prompts: str
    max_validation_pairs: Optional[int]
    preferences: Optional[PreferencesEvaluation]


@dataclass
class PolicySlice:
    """The training recipe."""

    dpo: DPO
    seed: int
    system_prompt: Optional[str]


@dataclass
class GenerationsSlice:
    """Which prompts are answered, and how."""

    verifiable: VerifiableEvaluation
    system_prompt: Optional[str]
    precision: str


@dataclass
class LikelihoodsSlice:
    """How the policy's log-probs of the test completions, and the divergence on its own answers, are computed."""

    system_prompt: Optional[str]
    precision: str
    max_length: int
    preferences: Optional[PreferencesEvaluation]
    kl_prompts: int


@dataclass
class EvaluationSlice:
    """What the metrics depend on. `aspects` are the labellings beside the average and the critique."""

    aspects: list[str]
    beta: float
    repair: Repair
    preferences: Optional[PreferencesEvaluation]
    verifiable: Optional[VerifiableEvaluation]


T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return a dataclass as plain JSON: enum members by name."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_json({spec.name: getattr(value, spec.name) for spec in fields(value)})
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], content: dict[str, Any]) -> T:
    """Return the dataclass that `to_json` turned into `content`; a key left out becomes null, or an empty list."""
    hints = get_type_hints(kind)
    return kind(**{name: _revive(hint, content.get(name)) for name, hint in hints.items()})


def _revive(hint: Any, value: Any) -> Any:
    inner = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    if value is None:
        return [] if get_origin(hint) is list else None
    for kind in inner:
        if is_dataclass(kind) and isinstance(value, dict):
            return from_json(kind, value)
        if issubclass(kind, Enum):
            return [kind[item] for item in value] if isinstance(value, list) else kind[value]
    return value
