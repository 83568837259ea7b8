"""What made something: the command, the machine, the libraries and the code; noted then, and never looked up later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Surroundings(TypedDict, total=False):
    """With what an attempt of a run was made; a file from before a key was noted lacks it.

    Attributes:
        command: The arguments that the run was started with, without credentials.
        hardware: The profile's name, its device (and whether the machine lacks it) and processes, and what the machine
            is.
        versions: Library -> version, None where it was not installed.
        git_commit: Of the checkout that the code ran from, with `-dirty` after uncommitted changes; None outside one.
    """

    command: list[str]
    hardware: dict[str, str | int]
    versions: dict[str, str | None]
    git_commit: str | None


class Provenance(Surroundings, total=False):
    """One attempt at making an artifact.

    Attributes:
        started: When, in ISO 8601, UTC.
        seconds: Wall time that it took; None where the attempt was killed.
    """

    started: str
    seconds: float | None


NOT_RECORDED = "not recorded"
"""What is said of an artifact that was made before its manifest had this."""


def made_in_words(attempts: Sequence[Provenance]) -> str:
    """Return when and where an artifact was made, such as "2026-11-20 gpu (NVIDIA H100)"; `NOT_RECORDED` for none.

    Args:
        attempts: Those that made it, as its manifest has them.
    """
    words = [
        " ".join(filter(None, (attempt.get("started", "")[:10], _machine(attempt), _lost(attempt))))
        for attempt in attempts
    ]
    return "; then ".join(words) or NOT_RECORDED


def _machine(attempt: Provenance) -> str:
    """Return the profile of an attempt and its devices in a few words, such as "gpu (NVIDIA H100)" or "cpu"."""
    hardware = attempt.get("hardware", {})
    names = f" ({hardware['cuda_names']})" if "cuda_names" in hardware and hardware.get("device") != "cpu" else ""
    return f"{hardware.get('profile', NOT_RECORDED)}{names}"


def _lost(attempt: Provenance) -> str:
    return "(killed)" if attempt.get("seconds") is None else ""
