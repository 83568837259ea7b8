"""What the ranges of single settings do not say of a simulated world."""

from __future__ import annotations

from notus_exp.config.data_settings import SIMULATED_ASPECTS, Simulated
from notus_exp.errors import UserError, did_you_mean


def check_simulated(spec: Simulated) -> None:
    """Check what the ranges of single settings do not say.

    Raises:
        UserError: Naming the key, its value and the remedy.
    """
    if spec.min_constraints > spec.max_constraints:
        raise UserError(
            f"data.min_constraints={spec.min_constraints} is more than data.max_constraints={spec.max_constraints}",
            "raise data.max_constraints or lower data.min_constraints",
        )
    if len(spec.skills) < 2:
        raise UserError(f"data.skills has {len(spec.skills)} model(s)", "give at least two, such as {a: 0.9, b: 0.5}")
    for model, skill in spec.skills.items():
        if not 0 <= skill <= 1:
            raise UserError(f"data.skills.{model}={skill} is no probability", "give a number from 0 to 1")
    for aspect in spec.aspects:
        if aspect not in SIMULATED_ASPECTS:
            raise UserError(f"data.aspects: '{aspect}' is not simulated", did_you_mean(aspect, SIMULATED_ASPECTS))
