"""How a launch shares what a training holds among its processes, and what a process gathers of it for a moment."""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.models.shapes import Shape
from notus_exp.run.memory.number_sizes import FLOAT32

ZERO_BUCKET = 5e8
"""Numbers of DeepSpeed's `reduce_bucket_size` and `allgather_bucket_size`, by default."""
ZERO_LIVE = 1e9
"""Parameters of ZeRO-3's `stage3_max_live_parameters`, by default: at most so many are gathered at once."""
PREFETCHED = 2
"""Blocks that FSDP2 has gathered at once: the one that computes and the one that is fetched meanwhile."""


class Shares(NamedTuple):
    """What a process holds: shares of weights, gradients and optimiser, in [0, 1], and bytes for a moment beside.

    Attributes:
        weights: Share of the weights.
        gradients: Share of their gradients.
        optimiser: Share of the optimiser's state and of its masters.
        gathered: Bytes of weights that are gathered at once.
        buffers: Bytes of what is sent and received.
        weights_on_host: Whether the weights lie in the machine's memory.
        optimiser_on_host: Whether gradients' shares and optimiser lie there.
    """

    weights: float = 1.0
    gradients: float = 1.0
    optimiser: float = 1.0
    gathered: float = 0.0
    buffers: float = 0.0
    weights_on_host: bool = False
    optimiser_on_host: bool = False


def shares_of(hardware: Hardware, shape: Shape, computed: int, gradients: float) -> Shares:
    """Return what a process holds under a profile's launch.

    Args:
        hardware: The profile.
        shape: Of the model.
        computed: Bytes of a number as it is computed.
        gradients: Bytes of all gradients.
    """
    launch, n = hardware.launch, hardware.processes
    if launch is Launch.ddp and n > 1:
        return Shares(buffers=gradients)  # torch's buckets are a copy of all gradients
    if launch is Launch.fsdp2:
        root = shape.embedding * (1 if shape.tied else 2)
        gathered = (PREFETCHED * shape.block + root) * computed
        return Shares(1 / n, 1 / n, 1 / n, gathered, max(shape.block, root) * FLOAT32)
    if launch is Launch.deepspeed:
        stage, offload = hardware.zero_stage or 0, hardware.offload
        buckets = min(ZERO_BUCKET, shape.parameters) * computed
        live = min(ZERO_LIVE, shape.parameters) * computed if stage == 3 else 0.0
        return Shares(
            weights=1 / n if stage == 3 else 1.0,
            gradients=1 / n if stage >= 2 else 1.0,
            optimiser=1 / n if stage >= 1 else 1.0,
            gathered=live,
            buffers=buckets * (2 if stage >= 1 else 1),
            weights_on_host=offload and stage == 3,
            optimiser_on_host=offload,
        )
    return Shares()
