"""What of a recipe needs bitsandbytes, an extra: refused where it is not installed, before anything is computed."""

from __future__ import annotations

import importlib.util

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.training_settings import BNB_OPTIMIZERS, DPO, QUANTISATIONS
from notus_exp.errors import UserError


def needs_bitsandbytes(dpo: DPO) -> list[str]:
    """Return the settings of a recipe that need bitsandbytes."""
    needing = [f"dpo.optimizer={dpo.optimizer}"] if dpo.optimizer in BNB_OPTIMIZERS else []
    quantised = dpo.lora.quantisation != QUANTISATIONS[0]
    return [*needing, *([f"dpo.lora.quantisation={dpo.lora.quantisation}"] if quantised else [])]


def check_bitsandbytes(dpo: DPO) -> None:
    """Refuse a recipe that needs bitsandbytes where it is not installed.

    Raises:
        UserError: Naming the setting that needs it, and how to install it.
    """
    for setting in needs_bitsandbytes(dpo):
        require_bitsandbytes(setting)


def check_shared(dpo: DPO, hardware: Hardware) -> None:
    """Refuse a recipe of which the launch cannot share the tensors of bitsandbytes.

    Raises:
        UserError: Naming the setting that needs them.
    """
    needing = needs_bitsandbytes(dpo)
    if needing and hardware.launch in (Launch.fsdp2, Launch.deepspeed):
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
