"""What one device holds at one moment of a stage, by part, and what the machine holds for it beside."""

from __future__ import annotations

from typing import NamedTuple

PARTS = ("weights", "gradients", "optimiser", "activations", "logits", "cache", "other")
"""Columns of the table that a plan shows."""


class Need(NamedTuple):
    """Bytes by part at one moment.

    Attributes:
        stage: Which stage.
        moment: Which moment of it.
        parts: Part -> bytes on the device; names are those of `PARTS`.
        host: Bytes in the machine's memory for this device, where that is another one, libraries apart.
    """

    stage: str
    moment: str
    parts: dict[str, float]
    host: float = 0.0

    @property
    def total(self) -> float:
        """Bytes on the device."""
        return sum(self.parts.values())


def fullest(needs: list[Need]) -> Need:
    """Return the moment that holds the most of the device, with the most that any of them holds of the machine."""
    return max(needs, key=lambda need: need.total)._replace(host=max(need.host for need in needs))
