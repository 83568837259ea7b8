"""What a process needs of the machine's own memory beside its device: while a model is read, and is written."""

from __future__ import annotations

from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import DPO, QUANTISATIONS
from notus_exp.models.shapes import Shape
from notus_exp.run.memory import optimisers
from notus_exp.run.memory.number_sizes import FLOAT32, Numbers, base_bytes
from notus_exp.run.memory.optimisers import Trained


def reading(weights: float, quantisation: str, hardware: Hardware) -> float:
    """Return the bytes of a model that is read whole before it goes to the device: by each process.

    On the processor they are the device's own. Quantised weights, and those of which ZeRO-3 keeps a part, are made
    where they stay, tensor by tensor.

    Args:
        weights: Bytes of the whole model, as it is read.
        quantisation: `dpo.lora.quantisation`.
        hardware: The profile.
    """
    parts = hardware.launch is Launch.deepspeed and hardware.zero_stage == 3
    return 0.0 if hardware.device is Device.cpu or quantisation != QUANTISATIONS[0] or parts else weights


def writing(dpo: DPO, hardware: Hardware, updated: Trained, numbers: Numbers) -> float:
    """Return the bytes of what process 0 makes whole to write it, as its node's processes have a share in them.

    FSDP2's checkpoints are written in parts, its finished weights whole; of DeepSpeed masters and state are whole too.
    """
    if hardware.device is Device.cpu:
        return 0.0
    whole = 0.0
    if hardware.launch is Launch.fsdp2:
        whole = float(numbers.trained * updated.weights)
    if hardware.launch is Launch.deepspeed:
        state = optimisers.state(dpo.optimizer, updated, numbers.masters or numbers.trained)
        whole = FLOAT32 * updated.weights + state
    return whole / (hardware.processes / hardware.nodes)


def training_host(during: float, shape: Shape, dpo: DPO, hardware: Hardware, one: tuple[Trained, Numbers]) -> float:
    """Return the most that a training's process needs of the machine's memory.

    Args:
        during: What it holds there all the time, in bytes.
        shape: Of the model.
        dpo: The recipe.
        hardware: The profile.
        one: What is trained, and in which numbers.
    """
    updated, numbers = one
    number = numbers.weight if dpo.lora.r else numbers.trained
    first = reading(base_bytes(shape, number, dpo.lora.quantisation), dpo.lora.quantisation, hardware)
    return max(first, during + writing(dpo, hardware, updated, numbers))
