"""The expressions of a curation's settings, and the columns that they name."""

from __future__ import annotations

from notus_exp.config.language import names_in, parsed
from notus_exp.curation.scores import written
from notus_exp.stages.settings import PairsSettings

SIDES = ("chosen_", "rejected_")
"""Begin the names of a pair's columns that are those of its two completions."""


def expressions(spec: PairsSettings) -> dict[str, str]:
    """Return every expression of the settings: setting -> text; the selection's is that of its name if it has none."""
    return {"selection.score": written(spec.selection, spec.aspects)}


def named_columns(spec: PairsSettings) -> set[str]:
    """Return the columns of completions that the expressions name, for either side of a pair too."""
    named = {name for key, text in expressions(spec).items() for name in names_in(parsed(text, key))}
    return named | {name.removeprefix(side) for name in named for side in SIDES if name.startswith(side)}
