"""What each stage receives: exactly the settings that its key hashes. Fields are JSON or dataclasses of schema.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

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
    """`model_digest` stands for the GGUF file, the folder's content or the hub commit; `seed` is for random weights."""

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
    """Which prompts are answered, and how. `lora` tells how to load the policy; it is null for the base model."""

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
