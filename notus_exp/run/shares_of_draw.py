"""Which shares of the prompts a draw of writers has: of all, or of a round's part of them (`making.drawn.of_part`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class SplitShares(NamedTuple):
    """Of the prompts that there are, those for training and those for validation."""

    training: float
    validation: float


def answered_share(draw: Mapping[str, Any]) -> float:
    """Return the share of all prompts that are answered: all, or a round's."""
    part = draw.get("part")
    if part is None:
        return 1.0
    test = part["split"]["test"] if part["round"] == 1 else 0.0
    return float(test + part["split"]["validation"] + trained_share(draw))


def trained_share(draw: Mapping[str, Any]) -> float:
    """Return the share of all prompts that a round trains on."""
    part = draw["part"]
    return float((1 - part["split"]["test"] - part["split"]["validation"]) / part["parts"])


def training_and_validation(draw: Mapping[str, Any], split: Mapping[str, Any]) -> SplitShares:
    """Return the shares of what is answered that are for training and for validation."""
    if "part" not in draw:
        return SplitShares(1 - split["validation"] - split["test"], split["validation"])
    whole = answered_share(draw)
    return SplitShares(trained_share(draw) / whole, split["validation"] / whole)
