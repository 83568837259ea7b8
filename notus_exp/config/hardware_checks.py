"""Whether a machine can run a recipe: precision, launch and batches, refused before anything is computed."""

from __future__ import annotations

import re

from notus_exp.config.batches import plan_batches
from notus_exp.config.bitsandbytes_checks import check_shared
from notus_exp.config.hardware_settings import FLASH, Device, Hardware, Launch
from notus_exp.config.training_settings import DPO, MasterWeights, Precision
from notus_exp.errors import UserError, did_you_mean
from notus_exp.machine.peaks import PEAKS, peak_of


def check_hardware(hardware: Hardware, dpo: DPO) -> None:
    """Refuse a machine on which the recipe would not run, or whose settings contradict each other.

    Raises:
        UserError: Names the keys and the remedy; also whatever `plan_batches` raises.
    """
    if dpo.precision not in hardware.precisions:
        raise UserError(
            f"dpo.precision={dpo.precision.name} is not available on hardware={hardware.name}",
            f"it computes in {', '.join(p.name for p in hardware.precisions)}",
        )
    if hardware.device_name is not None and peak_of(hardware.device_name) is None:
        raise UserError(
            f"hardware.device_name={hardware.device_name}: what such a device can do is not known",
            f"{did_you_mean(hardware.device_name, PEAKS)}; or null, and no hours are forecast for it",
        )
    _check_attention(hardware, dpo)
    _check_launch(hardware)
    _check_numbers(hardware, dpo)
    check_shared(dpo, hardware)
    plan_batches(dpo, hardware)


def _check_attention(hardware: Hardware, dpo: DPO) -> None:
    """Refuse flash attention where its kernels do not run: on CUDA devices alone, and in 16 bits."""
    given = f"hardware.attention={FLASH}"
    if hardware.attention == FLASH and hardware.device is not Device.cuda:
        raise UserError(f"{given} does not run on {hardware.device.name}", "use hardware.attention=sdpa")
    if hardware.attention == FLASH and dpo.precision is Precision.float32:
        raise UserError(
            f"{given} computes in 16 bits, not in dpo.precision=float32",
            "use dpo.precision=bfloat16, or hardware.attention=sdpa",
        )


def _check_launch(hardware: Hardware) -> None:
    """Refuse settings of a launch that it does not have."""
    launch, processes, nodes = hardware.launch, hardware.processes, hardware.nodes
    if processes > 1 and launch is Launch.plain:
        raise UserError(
            f"hardware.processes={processes} needs another hardware.launch than plain, which is one process",
            "ddp where the model fits on each device, else fsdp2 or deepspeed",
        )
    if launch is not Launch.plain and hardware.device is Device.mps:
        raise UserError(
            f"hardware.launch={launch.name} does not run on mps", "use hardware.launch=plain: it is one device"
        )
    if processes % nodes:
        raise UserError(
            f"hardware.processes={processes} does not divide by hardware.nodes={nodes}",
            "hardware.processes counts those of all nodes, as many on each",
        )
    if hardware.rendezvous is not None:
        _check_rendezvous(hardware)
    if launch is Launch.deepspeed and hardware.zero_stage is None:
        raise UserError("hardware.launch=deepspeed needs hardware.zero_stage", "3 shares the weights too")
    if launch is not Launch.deepspeed and hardware.zero_stage is not None:
        raise UserError(f"hardware.zero_stage={hardware.zero_stage} needs hardware.launch=deepspeed")
    if hardware.offload and not hardware.zero_stage:
        raise UserError(
            "hardware.offload=true does nothing without hardware.launch=deepspeed and hardware.zero_stage of 1 to 3",
            "set both, or leave hardware.offload out",
        )
    if hardware.zero_stage == 0:
        raise UserError("hardware.zero_stage=0 shares nothing out", "use hardware.launch=ddp, or 1, 2 or 3")


def _check_numbers(hardware: Hardware, dpo: DPO) -> None:
    """Refuse numbers that a launch does not train in."""
    named = f"hardware.launch={hardware.launch.name}"
    if hardware.launch is Launch.fsdp2 and dpo.precision is Precision.float16:
        raise UserError(
            f"{named} does not train in dpo.precision=float16: its loss scaling knows no gradients that are shared out",
            "use dpo.precision=bfloat16, or hardware.launch=ddp or deepspeed",
        )
    if hardware.launch in (Launch.fsdp2, Launch.deepspeed) and dpo.optimizer == "adafactor":
        raise UserError(
            f"dpo.optimizer=adafactor does not go with {named}, which shares out the rows that its state is of",
            "use hardware.launch=ddp or plain, or another optimiser",
        )
    if hardware.launch is Launch.deepspeed and dpo.master_weights is MasterWeights.same:
        raise UserError(
            f"{named} trains float32 masters of its own, whatever the weights are in: not dpo.master_weights=same",
            "use hardware.launch=fsdp2 or ddp, or leave dpo.master_weights at float32",
        )


def _check_rendezvous(hardware: Hardware) -> None:
    given = f"hardware.rendezvous={hardware.rendezvous}"
    if hardware.nodes == 1:
        raise UserError(f"{given} does nothing on one node", "set hardware.nodes too, or leave it out")
    if not re.fullmatch(r"[^:\s]+:\d{1,5}", str(hardware.rendezvous)):
        raise UserError(f"{given} is no address", "write hardware.rendezvous=HOST:PORT")
