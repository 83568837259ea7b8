"""The topics of the simulated world with their true and wrong statements, read from topics.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from notus_exp.feedback.simulated.constraints import words

_COMMON = frozenset(
    words(
        "about after again also always animals away back before bring called carry come comes from give gives good "
        "grow have into keep kind kinds like made make makes many means more most much need needs never often only "
        "other over people place places should some such than that their them then they this together towards used "
        "useful usually very well when with without work your"
    )
)
"""Words too common to be worth asking for."""


class Topic(NamedTuple):
    """What can be said about one thing.

    Attributes:
        name: As it stands in "Tell me about ...".
        true: Short true sentences.
        wrong: Short wrong sentences.
        keywords: For each true sentence, its words that a prompt may ask for.
    """

    name: str
    true: tuple[str, ...]
    wrong: tuple[str, ...]
    keywords: tuple[tuple[str, ...], ...]


@cache
def topics() -> tuple[Topic, ...]:
    """Return all topics, in the file's order."""
    table = tomllib.loads(files(__package__).joinpath("topics.toml").read_text(encoding="utf-8"))
    return tuple(
        Topic(name, tuple(of["true"]), tuple(of["wrong"]), tuple(_keywords(name, fact) for fact in of["true"]))
        for name, of in table.items()
    )


def _keywords(name: str, fact: str) -> tuple[str, ...]:
    """Return a sentence's content words, without the topic itself (in the singular or plural)."""
    stem = name.split()[-1].rstrip("s")
    found = (word.lower() for word in words(fact)[1:])
    return tuple(word for word in found if len(word) > 3 and word not in _COMMON and not word.startswith(stem))
