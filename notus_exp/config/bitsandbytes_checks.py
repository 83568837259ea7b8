"""What of a recipe needs bitsandbytes, an extra: refused where it is not installed, before anything is computed."""

from __future__ import annotations

import importlib.util

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.training_settings import BNB_OPTIMIZERS, DPO, QUANTISATIONS
from notus_exp.errors import UserError


def check_bitsandbytes(dpo: DPO, hardware: Hardware) -> None:
    """Refuse a recipe that needs bitsandbytes where it is not installed, or where the launch cannot share its tensors.

    Raises:
        UserError: Naming the setting that needs it, and how to install it.
    """
    needing = [f"dpo.optimizer={dpo.optimizer}"] if dpo.optimizer in BNB_OPTIMIZERS else []
    if dpo.lora.quantisation != QUANTISATIONS[0]:
        needing.append(f"dpo.lora.quantisation={dpo.lora.quantisation}")
    if not needing:
        return
    require_bitsandbytes(needing[0])
    if hardware.launch in (Launch.fsdp2, Launch.deepspeed):
        raise UserError(
            f"{needing[0]} does not go with hardware.launch={hardware.launch.name}: its tensors are not shared",
            "use hardware.launch=ddp, or plain",
        )


def require_bitsandbytes(needed_by: str) -> None:
    """Refuse a setting that needs bitsandbytes where it is not installed.

    Raises:
        UserError: How to install it.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"{needed_by} needs bitsandbytes, which is not installed", "pip install 'notus-exp[bitsandbytes]'"
        )
