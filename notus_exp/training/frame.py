"""What every training here is made in: data on the disk, a model shared out, resuming, and what it cost."""

from __future__ import annotations

import pickle
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset, load_from_disk

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.training_settings import DPO, QUANTISATIONS, MasterWeights
from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.machine.team import Team
from notus_exp.models.pretrained import DTYPES
from notus_exp.stages.context import Context
from notus_exp.training.checkpoints import events_of, keep_only, newest_complete, one_before
from notus_exp.training.prepared import PreparedTrainer
from notus_exp.training.sharding import Sharding
from notus_exp.training.shards import FOLDER as SHARDS

CHECKPOINTS = "checkpoints"
DATASET = "dataset"


def sharding_of(recipe: DPO, hardware: Hardware, device: torch.device) -> Sharding | None:
    """Return how the model is shared out, or None where each process holds it or something else shares it out."""
    if hardware.launch is not Launch.fsdp2 or hardware.processes == 1:
        return None
    mixed = recipe.precision.name != "float32" and recipe.master_weights is MasterWeights.float32
    compute = DTYPES[recipe.precision.name] if mixed else None
    return Sharding(device, hardware.processes, compute)


def on_disk(rows: pl.DataFrame, folder: Path, team: Team) -> Dataset:
    """Write a dataset and open it from there: memory-mapped, and the same file for every process."""
    team.broadcast(lambda: write_dataset(rows, folder))
    return load_from_disk(folder)


def write_dataset(rows: pl.DataFrame, folder: Path) -> None:
    """Write a dataset into a folder, in the place of what lies there."""
    shutil.rmtree(folder, ignore_errors=True)
    known = [name for name in rows.columns if not rows[name].null_count()]  # without a reference some are null
    Dataset.from_polars(rows.select(known)).save_to_disk(folder)


def float32_adapter(model: torch.nn.Module, recipe: DPO) -> None:
    """Keep an adapter over a quantised base in float32: TRL rounds it there, and its small updates would vanish."""
    if recipe.lora.quantisation == QUANTISATIONS[0]:
        return
    for parameter in model.parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data


def train(trainer: PreparedTrainer, checkpoints: Path, context: Context) -> None:
    """Train to the end, from the newest checkpoint that is whole and of this training, where there is one.

    Raises:
        UserError: That checkpoint cannot be read, or not by this launch.
    """

    def look() -> str | None:
        found = newest_complete(checkpoints, trainer.owner, context.events.say)
        if found and context.hardware.launch is Launch.deepspeed and not (found / SHARDS).exists():
            raise UserError(
                f"{found} was written by processes that each held the model, which DeepSpeed does not go on from",
                "go on with hardware.launch=plain, ddp or fsdp2, or delete that folder: the training begins anew",
            )
        keep_only(checkpoints, found, one_before(found) if found else None)
        shutil.rmtree(checkpoints.parent / files.MODEL, ignore_errors=True)  # of an attempt that ended while writing it
        context.events.keep(events_of(found) if found else 0)
        return str(found) if found else None

    found = context.team.broadcast(look)
    if context.team.rank:
        torch.manual_seed(trainer.args.seed + context.team.rank)  # its dropout is of its own; weights are made already
    try:
        trainer.train(resume_from_checkpoint=found)
    except pickle.UnpicklingError:  # torch's own words recommend to load what cannot be trusted
        hint = "delete that folder: the same command goes on from the checkpoint before it, or from the beginning"
        raise UserError(f"the checkpoint {found} cannot be read", hint) from None


def cost_of(device: torch.device) -> dict[str, Any]:
    """Name the device and its peak memory in bytes: of the CUDA allocator, or of the whole process on the CPU."""
    if device.type == "cuda":
        return {
            "device": torch.cuda.get_device_name(device),
            "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
        }
    unit = 1 if sys.platform == "darwin" else 1024
    return {"device": device.type, "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def end(out: Path) -> None:
    """Remove what a training that has ended needs no more."""
    keep_only(out / CHECKPOINTS, None)  # removes each one's marker first: a kill in between leaves none to trust
    shutil.rmtree(out / CHECKPOINTS)
    shutil.rmtree(out / DATASET)
