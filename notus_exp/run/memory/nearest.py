"""The nearest setting that fits where a run does not: each one that is named was planned itself, and fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.hardware_checks import check_hardware
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import DPO, QUANTISATIONS, MasterWeights, Precision
from notus_exp.errors import UserError
from notus_exp.models.shapes import Shape
from notus_exp.run.memory.memory_stages import Computing, stage_needs

EIGHT_BITS = {"adamw_torch": "adamw_bnb_8bit", "adamw_torch_fused": "adamw_bnb_8bit", "rmsprop": "rmsprop_bnb_8bit"}
"""Optimiser -> the one of bitsandbytes that does the same with a state in 8 bits."""
LORA_RANK = 64
"""Of the adapter that is proposed: Notus'."""
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
MOST_PROCESSES = 64
SMALLEST = "nf4"
ROOM = 0.88
"""Of the memory that there is, what a proposal may plan: the least part of a measured peak that a plan was of
(docs/results/memory.md)."""


class Recipes(NamedTuple):
    """That of the preferences, and that of a supervised training before them, None where there is none."""

    dpo: DPO
    tuned: DPO | None


class Change(NamedTuple):
    """Other values of some settings: what is written on the command line, and recipes and machine with them."""

    overrides: tuple[str, ...]
    recipes: Recipes
    hardware: Hardware


class Remedy(NamedTuple):
    """A change that fits: bytes a device that it needs; whether results are others; whether it asks for more."""

    overrides: tuple[str, ...]
    needed: float
    other_results: bool
    more_devices: bool


def remedies(shape: Shape, dpo: DPO, hardware: Hardware, work: Computing, most: float) -> list[Remedy]:
    """Return the nearest settings that fit into `most` bytes a device, and leave room for what a plan does not see.

    First those on which no result depends, on the devices that there are: smaller batches, then activation
    checkpointing. Where none of them fits, up to two: the first that asks for more devices, or for the machine's memory
    beside, and the first recipe that gives other results.
    """
    found: dict[tuple[bool, bool], Remedy] = {}
    for recipe, machine in product(_of_both(Recipes(dpo, work.tuned)), _machines(hardware)):
        kind = (bool(recipe[0]), bool(machine[0]))
        if kind in found or all(kind):
            continue
        for tried in _batches(*recipe, *machine, work):
            if not _valid(tried):
                continue
            asked = work._replace(tuned=tried.recipes.tuned)
            needed = max(need.total for need in stage_needs(shape, tried.recipes.dpo, tried.hardware, asked))
            if needed <= ROOM * most:
                found[kind] = Remedy(tried.overrides, needed, *kind)
                break
        if (False, False) in found:
            return [found[False, False]]
    return [found[kind] for kind in ((False, True), (True, False)) if kind in found]


def _valid(tried: Change) -> bool:
    try:
        for recipe in filter(None, tried.recipes):
            check_dpo(recipe)
            check_hardware(tried.hardware, recipe)
    except UserError:
        return False
    return True


def _of_both(recipes: Recipes) -> Iterator[tuple[tuple[str, ...], Recipes]]:
    """Yield the recipes of both trainings, of which one, the other, or both alike are changed."""
    yield (), recipes
    of_dpo = list(_recipes(recipes.dpo))[1:]
    of_tuned = list(_recipes(recipes.tuned))[1:] if recipes.tuned else []
    of_tuned = [(tuple(f"sft.{one.removeprefix('dpo.')}" for one in said), tuned) for said, tuned in of_tuned]
    yield from ((said, recipes._replace(dpo=dpo)) for said, dpo in of_dpo)
    yield from ((said, recipes._replace(tuned=tuned)) for said, tuned in of_tuned)
    for (said, dpo), (too, tuned) in product(of_dpo, of_tuned):
        if [one.partition(".")[2] for one in said] == [one.partition(".")[2] for one in too]:
            yield (*said, *too), Recipes(dpo, tuned)


def _recipes(dpo: DPO) -> Iterator[tuple[tuple[str, ...], DPO]]:
    """Yield recipes, those that change the least first; the first is the one that there is."""
    yield (), dpo
    tried: list[tuple[tuple[str, ...], DPO]] = [((), dpo)]
    if dpo.precision is Precision.float32:
        tried.append((("dpo.precision=bfloat16",), replace(dpo, precision=Precision.bfloat16)))
    more = list(tried)
    if dpo.lora.r == 0:
        same = [
            ((*said, "dpo.master_weights=same"), replace(one, master_weights=MasterWeights.same))
            for said, one in tried
            if one.precision is Precision.bfloat16 and one.master_weights is MasterWeights.float32
        ]
        small = EIGHT_BITS.get(dpo.optimizer)
        eight = [((*said, f"dpo.optimizer={small}"), replace(one, optimizer=small)) for said, one in tried if small]
        both = [((*said, f"dpo.optimizer={small}"), replace(one, optimizer=small)) for said, one in same if small]
        lora = replace(dpo.lora, r=LORA_RANK, target_modules=dpo.lora.target_modules or LORA_TARGETS)
        adapted = [((*said, f"dpo.lora.r={LORA_RANK}"), replace(one, lora=lora)) for said, one in tried]
        more += [*same, *eight, *both, *adapted]
    if dpo.lora.quantisation == QUANTISATIONS[0]:
        more += [
            ((*said, f"dpo.lora.quantisation={SMALLEST}"), replace(one, lora=replace(one.lora, quantisation=SMALLEST)))
            for said, one in more
            if one.lora.r > 0 and one.precision is Precision.bfloat16
        ]
    yield from more[1:]


def _machines(hardware: Hardware) -> Iterator[tuple[tuple[str, ...], Hardware]]:
    """Yield machines: the one that there is, then more devices that share the training, then its own memory beside."""
    yield (), hardware
    if hardware.device is not Device.cuda:
        return
    alone = replace(hardware, zero_stage=None, offload=False)
    shared = [2**n for n in range(1, 7) if hardware.processes < 2**n <= MOST_PROCESSES]
    if hardware.launch is not Launch.fsdp2 and hardware.processes > 1:
        shared = [hardware.processes, *shared]
    for processes in shared:
        said = ["hardware.launch=fsdp2", f"hardware.processes={processes}"]
        said += ["hardware.zero_stage=null"] if hardware.zero_stage is not None else []
        said += ["hardware.offload=false"] if hardware.offload else []
        yield tuple(said), replace(alone, launch=Launch.fsdp2, processes=processes)
    if not hardware.offload:
        offloaded = ("hardware.launch=deepspeed", "hardware.zero_stage=3", "hardware.offload=true")
        yield offloaded, replace(hardware, launch=Launch.deepspeed, zero_stage=3, offload=True)


def _batches(
    of_recipe: tuple[str, ...], recipes: Recipes, of_machine: tuple[str, ...], hardware: Hardware, work: Computing
) -> Iterator[Change]:
    """Yield ever smaller batches of each stage that a run has, and after them activation checkpointing."""
    scoring = _halves(hardware.scoring_batch_size) if work.scored else [hardware.scoring_batch_size]
    generation = _halves(hardware.generation_batch_size) if work.new_tokens else [hardware.generation_batch_size]
    trains = work.trains or work.tuned is not None
    micro = _halves(hardware.micro_batch_size) if trains else [hardware.micro_batch_size]
    checkpointing = [False, True] if trains and not hardware.activation_checkpointing else [False]
    for checkpoints, passes, texts, prompts in product(checkpointing, micro, scoring, generation):
        changed: dict[str, Any] = {
            "micro_batch_size": passes,
            "activation_checkpointing": hardware.activation_checkpointing or checkpoints,
            "scoring_batch_size": texts,
            "generation_batch_size": prompts,
        }
        said = [
            f"hardware.{name}={str(value).lower()}"
            for name, value in changed.items()
            if value != getattr(hardware, name)
        ]
        yield Change((*of_recipe, *of_machine, *said), recipes, replace(hardware, **changed))


def _halves(size: int) -> list[int]:
    return [size // 2**n for n in range(size.bit_length())]
