"""A worker that memory ran out for is started again with a batch of half the size, and goes on from what it had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.config.batches import BATCH_LOSSES, next_smaller
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.schema import Stage
from notus_exp.disk.files import WORKER_RESULT
from notus_exp.disk.json_files import write_json
from notus_exp.run import worker as workers
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.stages.monitor import NO_MONITOR, Monitor

BATCHES = {
    Stage.policy: "micro_batch_size",
    Stage.sft: "micro_batch_size",
    Stage.generations: "generation_batch_size",
    Stage.responses: "generation_batch_size",
    Stage.reference: "scoring_batch_size",
    Stage.likelihoods: "scoring_batch_size",
    Stage.benchmarks: "scoring_batch_size",
}
"""Stage -> the setting that says how much of it is computed at once."""


class Lowered(NamedTuple):
    """A batch of half the size: machine, setting, its value, the one before, and what that means in words."""

    hardware: Hardware
    setting: str
    value: int
    before: int
    told: str


def make_within_memory(job: Job, folder: Path, say: Callable[[str], None], monitor: Monitor = NO_MONITOR) -> None:
    """Run workers until a job's artifacts are made, as `make_in_worker` does, with smaller batches if memory runs out.

    A training keeps its global batch and goes on from its newest checkpoint; scoring and generation keep the batches
    that are done. What was lowered is in the facts of the artifact.

    Raises:
        UserError: As `make_in_worker`; or memory ran out in a stage that computes nothing smaller.
        PrunedError: The monitor asked for the end.
    """
    finished: dict[str, bool] = {}  # by the workers before: what they made the next one finds
    try:
        while True:
            try:
                workers.make_in_worker(job, folder, say, monitor)
                return
            except workers.OutOfMemoryError as error:
                lowered = lower(job.hardware, error.node) if error.node else None
                if error.node is None or lowered is None:
                    raise
                finished |= {name: True for name, here in workers.made(folder).items() if here}
                say(f"{error.message}: {lowered.told}")
                facts = {**job.lowered.get(error.node.stage.name, {}), f"lowered_{lowered.setting}": lowered.value}
                job = replace(job, hardware=lowered.hardware, lowered={**job.lowered, error.node.stage.name: facts})
    finally:
        if finished:
            write_json(folder / WORKER_RESULT, workers.made(folder) | finished)


def lower(hardware: Hardware, node: Node) -> Lowered | None:
    """Return a machine that computes about half as much of a node's stage at once; None where it cannot be less."""
    setting = BATCHES.get(node.stage)
    if setting is None:
        return None
    before: int = getattr(hardware, setting)
    if node.stage in (Stage.policy, Stage.sft):
        recipe = node.settings["dpo" if node.stage is Stage.policy else "sft"]
        # they sort the pairs of a pass: its size is part of the result
        if BATCH_LOSSES.intersection(recipe.get("loss_type", ())):
            return None
        batch: int = recipe["global_batch_size"]
        share = batch // hardware.processes
        before = min(before, share)
        value = next_smaller(share, before)
        kept = f"at the same global batch of {batch}, from its newest checkpoint where there is one"
    else:
        value = before // 2
        kept = "from the batches that are done; the last bits of what is computed depend on it"
    if value < 1:
        return None
    smaller: dict[str, Any] = {setting: value}
    told = f"going on with hardware.{setting}={value} in place of {before}, {kept}"
    return Lowered(replace(hardware, **smaller), setting, value, before, told)
