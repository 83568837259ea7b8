"""Whether a machine can run a recipe: precision, launch and batches, refused before anything is computed."""

from __future__ import annotations

from notus_exp.config.batches import plan_batches
from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.training_settings import DPO
from notus_exp.errors import UserError


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
    if hardware.zero_stage is not None and hardware.launch is not Launch.accelerate:
        raise UserError(f"hardware.zero_stage={hardware.zero_stage} needs hardware.launch=accelerate")
    if hardware.offload and hardware.zero_stage is None:
        raise UserError("hardware.offload=true does nothing without DeepSpeed", "set hardware.zero_stage too")
    if hardware.processes > 1 and hardware.launch is not Launch.accelerate:
        raise UserError(f"hardware.processes={hardware.processes} needs hardware.launch=accelerate")
    plan_batches(dpo, hardware)
