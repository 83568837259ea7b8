"""The plan of a run's memory: what each stage holds at its fullest, and what there is."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from notus_exp.config.generation_settings import AskedGeneration
from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.config.made_settings import writers_of
from notus_exp.config.schema import Config, Stage
from notus_exp.config.sft_checks import as_recipe
from notus_exp.config.sft_settings import SftTraining
from notus_exp.config.training_settings import DPO, QUANTISATIONS
from notus_exp.evaluation.catalogue import answering
from notus_exp.machine.memory_size import cuda_bytes, machine_bytes
from notus_exp.models.shapes import Shape
from notus_exp.run.memory import inference_needs
from notus_exp.run.memory.host_needs import reading
from notus_exp.run.memory.need import Need, fullest
from notus_exp.run.memory.number_sizes import FLOAT32, base_bytes, bytes_of
from notus_exp.run.memory.training_needs import training

GB = 1e9
PROCESS = {Device.cpu: 0.55 * GB, Device.cuda: 0.6 * GB}
"""What a process holds before anything is loaded: libraries (docs/results/memory.md), or a CUDA context."""


class Computing(NamedTuple):
    """What of a run needs memory.

    Attributes:
        trains: Whether there is a training.
        scored: Stages that compute log-probs.
        new_tokens: Tokens of the longest answer that is generated here, 0 for none.
        tuned: The recipe of a supervised training, None where there is none.
        merges: Whether a policy's adapter is merged for a later round.
    """

    trains: bool
    scored: tuple[str, ...]
    new_tokens: int
    tuned: DPO | None = None
    merges: bool = False

    @classmethod
    def of(cls, config: Config, stages: Collection[Stage]) -> Computing:
        """Return what some stages of a config's run ask for; of several rounds an adapter is merged after each."""
        answered = [getattr(config.evaluation, spec.name).max_new_tokens for spec in answering(config.evaluation)]
        generates = Stage.generations in stages and not isinstance(config.generation, AskedGeneration)
        own = [one.max_new_tokens for one in writers_of(config.data).values() if one.is_own]
        written = max(own, default=0) if Stage.responses in stages else 0
        scored = tuple(stage.name for stage in (Stage.reference, Stage.likelihoods) if stage in stages)
        tuned = as_recipe(config.sft) if isinstance(config.sft, SftTraining) and Stage.sft in stages else None
        trains = Stage.policy in stages
        merges = trains and config.rounds.number > 1
        return cls(trains, scored, max([written, *answered]) if generates else written, tuned, merges)


class Available(NamedTuple):
    """Bytes of memory of a device, None where they are not known; whether the config says so, or this machine."""

    bytes: float | None
    configured: bool


def available(hardware: Hardware) -> Available:
    """Return how much memory a device has: what the profile says, else what this machine says.

    Processes that compute on the processor share the machine's.
    """
    if hardware.memory_gb is not None:
        return Available(hardware.memory_gb * GB, True)
    if hardware.device is Device.cuda:
        found, sharing = cuda_bytes(), 1.0
    else:
        found, sharing = machine_bytes(), hardware.processes / hardware.nodes
    return Available(None if found is None else found / sharing, False)


def supervised(shape: Shape, recipe: DPO, hardware: Hardware) -> list[Need]:
    """Return what a device holds in a supervised training, whose adapter is merged in float32 on the processor."""
    needs = training(shape, recipe, hardware, stage=Stage.sft.name, texts=1)
    merged = float(FLOAT32 * shape.parameters) / (hardware.processes / hardware.nodes) if recipe.lora.r else 0.0
    if hardware.device is Device.cuda:
        return [need._replace(host=max(need.host, merged)) for need in needs]
    held = max(sum(need.parts.get(part, 0.0) for part in ("weights", "optimiser", "gradients")) for need in needs)
    return [*needs, Need(Stage.sft.name, "merging", {"weights": held + merged})] if merged else needs


def merging(shape: Shape, hardware: Hardware) -> Need:
    """Return what merging an adapter into the weights holds, in float32 on the processor."""
    whole = float(FLOAT32 * shape.parameters)
    on_device = hardware.device is not Device.cuda
    return Need("merged", "merging", {"weights": whole if on_device else 0.0}, 0.0 if on_device else whole)


def stage_needs(shape: Shape, dpo: DPO, hardware: Hardware, work: Computing) -> list[Need]:
    """Return what a device holds at the fullest moment of each stage, in the order of the stages."""
    computed = bytes_of(dpo.precision)
    quantisation = dpo.lora.quantisation if dpo.lora.r else QUANTISATIONS[0]
    weights = base_bytes(shape, computed, quantisation)
    read = reading(weights, quantisation, hardware)
    found = [
        fullest(inference_needs.scoring(stage, shape, weights, computed, dpo.max_length, hardware))._replace(host=read)
        for stage in work.scored
    ]
    if work.tuned:
        found.insert(0, fullest(supervised(shape, work.tuned, hardware)))
    if work.trains:
        found.append(fullest(training(shape, dpo, hardware)))
    if work.merges and dpo.lora.r:
        found.append(merging(shape, hardware))
    if work.new_tokens:
        prompt = dpo.max_prompt_length or max(1, dpo.max_length - work.new_tokens)
        asked = inference_needs.generation(
            Stage.generations.name, shape, weights, computed, prompt, work.new_tokens, hardware
        )
        found.append(fullest(asked)._replace(host=read))
    process = PROCESS.get(hardware.device, PROCESS[Device.cpu])
    return [need._replace(parts={**need.parts, "other": need.parts.get("other", 0.0) + process}) for need in found]
