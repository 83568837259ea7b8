"""Whether the expressions of a config are in the language and name what there is: known before any data is read."""

from __future__ import annotations

from collections.abc import Iterable

from notus_exp.config.column_names import (
    BOOLEAN,
    MARGIN,
    NUMBER,
    REFERENCE,
    SCORE,
    SIDES,
    TOKENS,
    column_names,
    completion_columns,
    made_columns,
    means_another,
    pair_columns,
)
from notus_exp.config.curation_settings import Filters, PairRule, Rejected, Selection
from notus_exp.config.expression_trees import bare, literal_number, names_in, parsed
from notus_exp.config.language import Scope, read
from notus_exp.config.schema import Config
from notus_exp.config.score_settings import REWARD
from notus_exp.errors import UserError

OF_COMPLETIONS = ("selection.score", "rejected.score")
"""Settings whose expressions are over completions; the others' are over pairs."""
CONDITION = "filters.where"
"""The setting whose expression is a condition; the others' are numbers."""


def given_expressions(selection: Selection, rejected: Rejected, filters: Filters, pairs: PairRule) -> dict[str, str]:
    """Return the expressions that a user gave: setting -> text."""
    given = {
        "selection.score": selection.score,
        "rejected.score": rejected.score,
        CONDITION: filters.where,
        "filters.keep.by": filters.keep.by,
        "pairs.weight": pairs.weight,
    }
    return {key: text for key, text in given.items() if text is not None}


def scope_of(key: str, names: Iterable[str]) -> Scope:
    """Return what the expression of a setting may name, given the columns of a completion."""
    columns = completion_columns(names)
    if key in OF_COMPLETIONS:
        return Scope(key, columns)
    return Scope(key, pair_columns(columns), columns | {SCORE: NUMBER}, ranks=False)


def kind_wanted(key: str) -> str:
    """Return the kind that the expression of a setting must give."""
    return BOOLEAN if key == CONDITION else NUMBER


def columns_named(expressions: dict[str, str]) -> set[str]:
    """Return the columns of completions that expressions name, by either side of a pair too.

    A whole name is among them too where a side begins it: which of the two is meant is for `check_expressions` to ask.
    """
    named = {
        name for key, text in expressions.items() for name in ({text} if bare(text) else names_in(parsed(text, key)))
    }
    named |= {name.removesuffix(MARGIN) + REWARD for name in named if name.endswith(MARGIN)}
    return named | {name.removeprefix(side) for name in named for side in SIDES if name.startswith(side)}


def check_expressions(config: Config) -> None:
    """Check every expression.

    Raises:
        UserError: Naming the setting and what in it is not in the language, not known, or of another kind.
    """
    given, names = _given(config), column_names(config)
    for name in sorted(columns_named(given)):
        if names.count(name) > 1 or (name in config.data.aspects and means_another(name)):
            raise UserError(
                f"'{name}' is named in an expression, and is a rating of the data (data.aspects) and something else",
                "rename that of the data, or leave it out of data.aspects",
            )
    for key, text in given.items():
        tree = read(text, scope_of(key, names), kind_wanted(key))
        number = literal_number(tree)
        if key == "pairs.weight" and number is not None and number <= 0:
            raise UserError(f"pairs.weight={text} weighs no pair", "write a number above 0 that differs among pairs")


def joined_columns(config: Config) -> list[str]:
    """Return the columns that expressions name and that the stage `columns` makes, sorted."""
    return sorted({*named_columns(config)} & {*made_columns(config)})


def named_columns(config: Config) -> list[str]:
    """Return the columns of a completion that the expressions of a checked config name, sorted."""
    return sorted(columns_named(_given(config)) & {*column_names(config)})


def _given(config: Config) -> dict[str, str]:
    return given_expressions(config.selection, config.rejected, config.filters, config.pairs)


def reads_base_model(config: Config) -> bool:
    """Say whether curation needs the base model: an expression names a column that is made with it."""
    return bool({*named_columns(config)} & {TOKENS, *REFERENCE})
