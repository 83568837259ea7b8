"""The settings of the group `sft`: supervised fine-tuning before the preferences, or none."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from notus_exp.config.ranges import bounded, one_of, place, unbounded
from notus_exp.config.training_settings import (
    OPTIMIZERS,
    SCHEDULERS,
    Lora,
    MasterWeights,
    Precision,
    SpecialTokens,
)


@dataclass
class Sft:
    """What every option of the group has; of itself no training, and the base model stays the base."""

    name: str = unbounded(in_key=False, default="none")


@dataclass(kw_only=True)
class SftTraining(Sft):
    """The recipe of a supervised training: what changes its result, never how the hardware runs it.

    Its `seed` is its own, so that the seeds of a study share one model. `max_validation` counts conversations.
    """

    name: str
    seed: int = bounded(least=0, most=2**32 - 1)
    learning_rate: float = bounded(above=0)
    lr_scheduler: str = one_of(*SCHEDULERS)
    warmup: float = bounded(least=0)
    optimizer: str = one_of(*OPTIMIZERS)
    weight_decay: float = bounded(least=0)
    max_grad_norm: float = bounded(above=0)
    epochs: float = bounded(above=0)
    max_steps: Optional[int] = bounded(least=1)
    global_batch_size: int = bounded(least=1)
    batching: str = one_of("random", "length")
    precision: Precision
    master_weights: MasterWeights
    max_length: int = bounded(least=8)
    special_tokens: SpecialTokens
    max_truncated: float = bounded(least=0, most=1, in_key=False)  # it refuses, and changes no result
    evaluations: int = bounded(least=0)
    max_validation: Optional[int] = bounded(least=1)
    checkpoints: int = bounded(least=1)
    lora: Lora


@dataclass(kw_only=True)
class ChosenSft(SftTraining):
    """Training on the chosen responses of the training pairs, each with its prompt once."""


@dataclass(kw_only=True)
class ChatSft(SftTraining):
    """Training on conversations of local files or of a dataset on the hub: exactly one of `path` and `hub_id`.

    `messages` is the PATH of the conversation in a record, and what follows it says how its messages are written
    (`mapping_settings.Layout`). `validation` is the share of the conversations that is measured on.
    """

    path: Optional[str] = place()  # a digest of the files stands for it, and the commit for `revision`
    hub_id: Optional[str] = unbounded(unless="path")
    hub_split: Optional[str] = unbounded(unless="path")  # of a folder too: then its files' digest stands for it
    revision: str = unbounded(in_key=False)
    messages: str
    roles: dict[str, str] = one_of("system", "user", "assistant")
    role_key: Optional[str]
    content_key: Optional[str]
    max_bad_rows: int = bounded(least=0)
    max_conversations: Optional[int] = bounded(least=1)
    validation: float = bounded(least=0, below=1)
    expected_conversations: Optional[int] = bounded(least=1, in_key=False)  # for forecasts alone


SFT_SCHEMAS: dict[str, type[Sft]] = {"none": Sft, "chosen": ChosenSft, "chat": ChatSft}
