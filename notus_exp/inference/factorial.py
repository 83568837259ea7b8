"""What each factor of a grid does, and which factors change each other's effect."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from notus_exp.errors import UserError
from notus_exp.inference.crossed import CrossedEstimate, contrast


class Effect(NamedTuple):
    """A main effect or an interaction of two factors.

    Attributes:
        kind: "main" or "interaction".
        factors: The factor, or both.
        levels: The level of each factor whose effect it is.
        reference: The level of each factor that it is measured from.
        estimate: The effect, in the unit of the values.
    """

    kind: str
    factors: tuple[str, ...]
    levels: tuple[str, ...]
    reference: tuple[str, ...]
    estimate: CrossedEstimate


def effects(
    tables: Mapping[str, NDArray[np.float64]], levels: Mapping[str, Mapping[str, str]], reference: Mapping[str, str]
) -> list[Effect]:
    """Return all main effects, then all interactions of two factors, of a full factorial.

    Main effect: a level minus the reference level, averaged over all combinations of the other factors with equal
    weights. Interaction: by how much the effect of one factor's level differs between a level of a second factor and
    that factor's reference level, averaged over the rest. Each is one contrast of the arms, paired by prompt and seed.

    Args:
        tables: Arm to values, shape (K, n) each, the same seeds and prompts.
        levels: Arm to factor to level; every combination of the levels is one arm.
        reference: Factor to reference level.

    Raises:
        UserError: A combination has no arm or two, or a reference is no level.
    """
    known = _levels(levels)
    for factor, options in known.items():
        if reference[factor] not in options:
            raise UserError(
                f"factor '{factor}' has no level '{reference[factor]}' to be the reference",
                f"its levels: {', '.join(options)}",
            )
    others = {factor: [level for level in options if level != reference[factor]] for factor, options in known.items()}
    found: list[Effect] = []
    for size, kind in ((1, "main"), (2, "interaction")):
        for factors in itertools.combinations(known, size):
            origin = tuple(reference[factor] for factor in factors)
            for chosen in itertools.product(*(others[factor] for factor in factors)):
                weights = _weights(levels, factors, chosen, origin)
                estimate = contrast([tables[arm] for arm in weights], list(weights.values()))
                found.append(Effect(kind, factors, chosen, origin, estimate))
    return found


def _levels(levels: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return each factor's levels in the order of the arms; refuse what is no full factorial."""
    factors = list(next(iter(levels.values())))
    known = {factor: list(dict.fromkeys(arm[factor] for arm in levels.values())) for factor in factors}
    arms = Counter(tuple(arm[factor] for factor in factors) for arm in levels.values())
    for combination in itertools.product(*known.values()):
        if arms[combination] != 1:
            said = ", ".join(f"{factor}={level}" for factor, level in zip(factors, combination, strict=True))
            raise UserError(
                f"a factorial needs one arm for {said}, and there are {arms[combination]}",
                "effects need every combination of the levels once",
            )
    return known


def _weights(
    levels: Mapping[str, Mapping[str, str]], factors: Sequence[str], chosen: Sequence[str], origin: Sequence[str]
) -> dict[str, float]:
    """Return the weight of each arm in the effect; arms of other levels have none and are not in it.

    The product over the factors of +1 (the chosen level) and -1 (the reference), divided by the number of combinations
    of all other factors.
    """
    signs: dict[str, float] = {}
    for arm, has in levels.items():
        own = [has[factor] for factor in factors]
        pairs = list(zip(own, chosen, origin, strict=True))
        if all(level in (one, other) for level, one, other in pairs):
            signs[arm] = math.prod(1.0 if level == one else -1.0 for level, one, _ in pairs)
    combinations = len(signs) / 2 ** len(factors)
    return {arm: sign / combinations for arm, sign in signs.items()}
