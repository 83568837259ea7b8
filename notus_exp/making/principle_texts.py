"""What writers are told: the system prompts of each principle, written for this project. Imports no dataframe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from notus_exp.config.made_settings import PRINCIPLES


@cache
def told_by(principle: str) -> tuple[str, ...]:
    """Return the system prompts of a principle, of which each is as likely: the lines of its text file."""
    text = files(__package__).joinpath("told", f"{principle}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def told_of_principles(principles: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Return the system prompts of every principle that has a weight somewhere."""
    weighed = {name for weights in principles.values() for name, weight in weights.items() if weight > 0}
    return {name: [*told_by(name)] for name in PRINCIPLES if name in weighed}
