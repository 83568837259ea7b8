"""The settings of the group `hardware`: how a recipe is run, which no result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional

from notus_exp.config.ranges import bounded, one_of, unbounded
from notus_exp.config.training_settings import Precision

Device = Enum("Device", ["cpu", "cuda", "mps"])
Launch = Enum("Launch", ["plain", "ddp", "fsdp2", "deepspeed"])
"""One process; or several that each hold the model (ddp), or share what training keeps (fsdp2, deepspeed)."""
FLASH = "flash_attention_2"
ATTENTION = ("eager", "sdpa", FLASH)


@dataclass
class Hardware:
    """How a recipe is run: never part of what it computes.

    What came later has a default, so that a profile of a user's own stays one.

    Attributes:
        processes: Of all nodes together, one a device.
        rendezvous: HOST:PORT where the processes of several nodes find each other.
        watchdog: Seconds after which a worker of which nothing is heard is ended; None never.
        memory_gb: Of a device, in GB of 1e9 bytes; None asks the machine.
        device_name: Of a device, as in `machine/peaks.py`: a plan of another machine forecasts its hours by it.
    """

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
    nodes: int = bounded(least=1, in_key=False, default=1)
    rendezvous: Optional[str] = unbounded(in_key=False, default=None)
    watchdog: Optional[float] = bounded(above=0, in_key=False, default=1800.0)
    memory_gb: Optional[float] = bounded(above=0, in_key=False, default=None)
    device_name: Optional[str] = unbounded(in_key=False, default=None)
