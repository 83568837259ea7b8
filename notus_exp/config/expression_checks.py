"""Whether the expressions of a config are in the language and name what there is: known before any data is read."""

from __future__ import annotations

from notus_exp.config.columns import NUMBER, REFERENCE, TOKENS, column_names, completion_columns
from notus_exp.config.language import Scope, names_in, parsed, read
from notus_exp.config.schema import Config
from notus_exp.errors import UserError

SELECTION_SCORE = "selection.score"


def expressions(config: Config) -> dict[str, str]:
    """Return the expressions that a user gave: setting -> text."""
    given = {SELECTION_SCORE: config.selection.score}
    return {key: text for key, text in given.items() if text is not None}


def check_expressions(config: Config) -> None:
    """Check every expression.

    Raises:
        UserError: Naming the setting and what in it is not in the language, not known, or of another kind.
    """
    names = column_names(config)
    columns = completion_columns(names)
    for key, text in expressions(config).items():
        for name in sorted(names_in(read(text, Scope(key, columns), NUMBER))):
            if names.count(name) > 1:
                raise UserError(f"{key} names '{name}', which two columns are called", "rename that of the data")


def named_columns(config: Config) -> list[str]:
    """Return the columns of a completion that the expressions of a checked config name, sorted."""
    known = column_names(config)
    named = {name for key, text in expressions(config).items() for name in names_in(parsed(text, key))}
    return sorted(name for name in known if name in named)


def reads_base_model(config: Config) -> bool:
    """Say whether curation needs the base model: an expression names a column that is made with it."""
    return bool({*named_columns(config)} & {TOKENS, *REFERENCE})
