"""The models of a run: where they lie, intact, and how the run speaks with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.config.hardware_settings import FLASH, Device, Hardware
from notus_exp.config.precisions import working_precision
from notus_exp.config.training_settings import DPO
from notus_exp.contracts.rounds_of_run import MERGED
from notus_exp.disk.outputs import artifact
from notus_exp.errors import UserError
from notus_exp.frames.run_data import RunData
from notus_exp.stages.settings import from_json

POLICY = "policy"
BASES = ("sft", "base_model")
"""Nodes that a policy may have been trained from, the last trained first."""


class ModelsOfRun(NamedTuple):
    """What is needed to talk with a run's models as its evaluations do.

    Attributes:
        run: The run's id.
        base: The artifact that the policy was trained from; of several rounds what the first one began with.
        policy: The artifact of the policy; None where it is not asked for.
        precision: What is computed in, a word of `config/precisions.py`.
        system_prompt: Text of the system turn that the run puts first, "" for an empty one, None for none.
        template_date: What the chat template is told that asks for today's date; None where it asks for none.
        hardware: Device and attention.
    """

    run: str
    base: Path
    policy: Path | None
    precision: str
    system_prompt: str | None
    template_date: str | None
    hardware: Hardware


def models_of_run(run: RunData, *, with_policy: bool, device: str | None = None) -> ModelsOfRun:
    """Return where a run's models lie, after a look whether they are what was written.

    Args:
        run: The run.
        with_policy: Whether the policy is asked for, or the base model alone.
        device: One of `Device`; None for that of the run.

    Raises:
        UserError: The run has no such model, it is gone, or a file of it is not what was written.
    """
    config: dict[str, Any] = run.record.get("config", {})
    stages = run.record.get("stages", {})
    if with_policy and POLICY not in stages:
        hint = "name a run that got so far" + (", or give --base-only" if _base_node(run) else "")
        raise UserError(f"run {run.run_id} has no policy: it is {run.status}", hint)
    base = _base_node(run)
    if base is None or not {"model", "dpo", "hardware"} <= config.keys():
        raise UserError(
            f"run {run.run_id} has no model: it is {run.status}", "name a run that got as far as its base model"
        )
    model: dict[str, Any] = config["model"]
    return ModelsOfRun(
        run.run_id,
        _folder(run, base),
        _folder(run, MERGED if MERGED in stages else POLICY) if with_policy else None,
        working_precision(from_json(DPO, config["dpo"])),
        model.get("system_prompt"),
        model.get("template_date"),
        _hardware(from_json(Hardware, config["hardware"]), device),
    )


def _base_node(run: RunData) -> str | None:
    """Return the node that the policy was trained from; of a run without one the last of `BASES` that it made.

    Of a policy of several rounds, which is there with all of its weights, it is what the first round began with.
    """
    stages = run.record.get("stages", {})
    if MERGED in stages:
        return next((node for node in BASES if node in stages), None)
    key = stages[POLICY].get("inputs", {}).get("base_model") if POLICY in stages else None
    of_policy = (node for node, stage in stages.items() if stage["key"] == key)
    return next(of_policy, None) or next((node for node in BASES if node in stages), None)


def _folder(run: RunData, node: str) -> Path:
    place = artifact(run.folder, run.record, node)
    if not place.is_dir():
        raise UserError(f"{place} is gone", f"the command of run {run.run_id} makes it anew")
    return place


def _hardware(hardware: Hardware, device: str | None) -> Hardware:
    if device is None:
        return hardware
    attention = "sdpa" if hardware.attention == FLASH and device != Device.cuda.name else hardware.attention
    return replace(hardware, name=device, device=Device[device], attention=attention)
