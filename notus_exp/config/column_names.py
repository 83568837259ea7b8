"""Which columns a completion has in an expression, and what kind each is: known from the config alone."""

from __future__ import annotations

from collections.abc import Iterable

from notus_exp.config.data_settings import Mix
from notus_exp.config.made_settings import prompts_of
from notus_exp.config.schema import Config
from notus_exp.config.score_settings import REWARD, column_of

NUMBER, BOOLEAN, TEXT = "number", "condition", "text"
"""Kinds of what an expression gives, in words for a reader."""
TEXTS = ("model", "source", "corpus", "principle")
"""Columns that hold texts; all others hold numbers."""
MEASURED = ("chars", "words")
"""Columns that are measured from the response when they are named."""
TOKENS = "tokens"
"""Column of how many tokens of the base model a response is."""
REFERENCE = ("ref_logp", "ref_logp_per_token")
"""Columns of the base model's log-prob of a response."""
OF_PAIR = ("chosen_score", "rejected_score", "margin", "agreement")
"""Columns of a pair beside `chosen_X` and `rejected_X` for each column X of a completion."""
MARGIN = "_margin"
"""Ends the name of a pair's column that is the chosen side's less the rejected side's column ending in `REWARD`."""
SCORE = "score"
"""Within an aggregate over the prompt of a pair: the score by which the selection chose."""
SIDES = ("chosen_", "rejected_")
"""Begin the names of a pair's columns that are those of its two completions."""


def means_another(name: str) -> bool:
    """Say whether a name means something else in an expression than a column that data, scores or annotators give."""
    fixed = ("overall", "average", *MEASURED, *TEXTS, TOKENS, *REFERENCE, SCORE, *OF_PAIR)
    return name in fixed or name.startswith(SIDES)


def column_names(config: Config) -> list[str]:
    """Return the columns of a completion in an expression: ratings by their aspects, and what every completion has."""
    mixed = isinstance(prompts_of(config.data), Mix)
    return own_columns(config.data.aspects, [*(["corpus"] if mixed else []), *made_columns(config)])


def made_columns(config: Config) -> list[str]:
    """Return the columns that the stages `columns` and `annotations` make where an expression names them."""
    return [TOKENS, *REFERENCE, *map(column_of, config.scores), *(one.name for one in config.annotators)]


def own_columns(aspects: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Return what every completion has: its ratings, what is made of them or measured, texts, and others by name."""
    rated = [*aspects]
    texts = [name for name in TEXTS if name != "corpus"]
    return [*rated, "overall", *(["average"] if rated else []), *MEASURED, *texts, *others]


def completion_columns(names: Iterable[str]) -> dict[str, str]:
    """Return the kind of each column of a completion."""
    return {name: TEXT if name in TEXTS else NUMBER for name in names}


def pair_columns(names: Iterable[str]) -> dict[str, str]:
    """Return the kind of each column of a pair, given the columns of a completion."""
    kinds = completion_columns(names)
    sides = {f"{side}_{name}": kind for side in ("chosen", "rejected") for name, kind in kinds.items()}
    return dict.fromkeys([*OF_PAIR, *reward_margins(kinds)], NUMBER) | sides


def reward_margins(names: Iterable[str]) -> dict[str, str]:
    """Return the margins of rewards that pairs have, given the columns of a completion: margin -> reward."""
    return {name.removesuffix(REWARD) + MARGIN: name for name in names if name.endswith(REWARD)}
