"""The settings of the group `hardware`: how a recipe is run, which no result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional

from notus_exp.config.ranges import bounded, one_of, unbounded
from notus_exp.config.training_settings import Precision

Device = Enum("Device", ["cpu", "cuda"])
Launch = Enum("Launch", ["plain", "accelerate"])
ATTENTION = ("eager", "sdpa", "flash_attention_2")


@dataclass
class Hardware:
    """How a recipe is run: never part of what it computes."""

    name: str = unbounded(in_key=False)
    device: Device = unbounded(in_key=False)
    micro_batch_size: int = bounded(least=1, in_key=False)
    scoring_batch_size: int = bounded(least=1, in_key=False)
    generation_batch_size: int = bounded(least=1, in_key=False)
    attention: str = one_of(*ATTENTION, in_key=False)
    activation_checkpointing: bool = unbounded(in_key=False)
    precisions: list[Precision] = unbounded(in_key=False)
    launch: Launch = unbounded(in_key=False)
    processes: int = bounded(least=1, in_key=False)
    zero_stage: Optional[int] = bounded(least=0, most=3, in_key=False)
    offload: bool = unbounded(in_key=False)
