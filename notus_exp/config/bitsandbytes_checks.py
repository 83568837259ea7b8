"""What of a recipe needs bitsandbytes, an extra: refused where it is not installed, before anything is computed."""

from __future__ import annotations

import importlib.util

from notus_exp.config.training_settings import BNB_OPTIMIZERS, DPO
from notus_exp.errors import UserError


def check_bitsandbytes(dpo: DPO) -> None:
    """Refuse a recipe that needs bitsandbytes where it is not installed.

    Raises:
        UserError: Naming the setting that needs it, and how to install it.
    """
    needing = [f"dpo.optimizer={dpo.optimizer}"] if dpo.optimizer in BNB_OPTIMIZERS else []
    if needing and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"{needing[0]} needs bitsandbytes, which is not installed", "pip install 'notus-exp[bitsandbytes]'"
        )
