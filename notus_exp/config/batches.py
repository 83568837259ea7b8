"""How a recipe's global batch is spread over a machine: the one place that says so, before and while it trains."""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.training_settings import DPO
from notus_exp.errors import UserError

BATCH_LOSSES = frozenset({"aot", "aot_unpaired"})
"""Losses that sort the pairs of one forward pass, so that its size is part of the loss."""


class BatchPlan(NamedTuple):
    """How a global batch is spread: `micro` pairs x `accumulation` passes x `processes`."""

    micro: int
    accumulation: int
    processes: int


def plan_batches(dpo: DPO, hardware: Hardware) -> BatchPlan:
    """Spread a global batch over processes and forward passes.

    A micro-batch larger than a process's share becomes that share.

    Raises:
        UserError: The global batch does not divide by the processes, or a process's share by the micro-batch; or a
            loss sorts the pairs of a whole batch and the batch is spread over several passes.
    """
    batch, processes = dpo.global_batch_size, hardware.processes
    if batch % processes:
        raise UserError(
            f"dpo.global_batch_size={batch} does not divide by hardware.processes={processes}",
            "change hardware.processes; the global batch belongs to the recipe",
        )
    share = batch // processes
    micro = min(hardware.micro_batch_size, share)
    if share % micro:
        raise UserError(
            f"dpo.global_batch_size={batch} does not divide into passes: over hardware.processes={processes} it is "
            f"{share} pairs each, no multiple of hardware.micro_batch_size={hardware.micro_batch_size}",
            f"set hardware.micro_batch_size={_divisor_below(share, micro)}",
        )
    plan = BatchPlan(micro, share // micro, processes)
    sorting = sorted(BATCH_LOSSES.intersection(dpo.loss_type))
    if sorting and micro != batch:
        raise UserError(
            f"dpo.loss_type={sorting[0]} sorts the pairs of a whole batch, but dpo.global_batch_size={batch} is spread "
            f"over passes of {micro} pairs: the result would depend on the hardware",
            f"set hardware.micro_batch_size={batch} and hardware.processes=1, or lower dpo.global_batch_size",
        )
    return plan


def next_smaller(share: int, micro: int) -> int:
    """Return the largest micro-batch of at most half of one that divides a process's share evenly; 0 after 1."""
    return _divisor_below(share, micro // 2) if micro > 1 else 0


def _divisor_below(share: int, micro: int) -> int:
    return next(size for size in range(micro, 0, -1) if share % size == 0)
