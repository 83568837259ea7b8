"""What made something: the command, the machine, the libraries and the code; noted then, and never looked up later."""

from __future__ import annotations

from typing import TypedDict


class Surroundings(TypedDict, total=False):
    """With what an attempt of a run was made; a file from before a key was noted lacks it.

    Attributes:
        command: The arguments that the run was started with, without credentials.
        hardware: The profile's name, its device and processes, and what the machine is.
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
