"""A text parsed as SQL: one expression of bounded size. What it may be made of is for language.py to say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from notus_exp.config.vocabulary import INSTEAD, PAGE
from notus_exp.errors import UserError

if TYPE_CHECKING:
    from sqlglot.expressions import Expression

MOST_CHARS, MOST_LEVELS, SHOWN = 2_000, 60, 60
"""Characters of an expression, levels of its nesting, and characters of it that an error shows."""


@cache
def parsed(text: str, key: str) -> Expression:
    """Return the tree of an expression, nothing but its size and that it is one expression checked.

    Raises:
        UserError: It is empty, too long, nested too deep, has a comment or cannot be parsed.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError
    from sqlglot.expressions import Column, Condition, Expression, Literal

    at = f"{key}='{in_short(text)}'"
    if not text.strip():
        raise UserError(f"{key} is empty", "write an expression, such as average")
    if len(text) > MOST_CHARS:
        raise UserError(f"{at} has {len(text):,} characters", f"{MOST_CHARS:,} are the most")
    deep = UserError(f"{at} is nested too deep", f"{MOST_LEVELS} levels are the most")
    try:
        tree = sqlglot.parse_one(text, into=Condition, dialect="postgres")
        if _levels(tree) > MOST_LEVELS:
            raise deep
    except RecursionError as error:
        raise deep from error
    except SqlglotError as error:
        signs = {"**": "write POWER(x, 2) for a power", ";": INSTEAD["Block"], " as ": INSTEAD["Alias"]}
        hint = next((hint for sign, hint in signs.items() if sign in text.lower()), PAGE)
        raise UserError(f"{at} is no expression", hint) from error
    assert isinstance(tree, Expression)
    if _operands_written(text) > sum(1 for _ in tree.find_all(Column, Literal)):
        raise UserError(f"{at} has a function with more values than it takes", "such as MOD(x, y), which takes two")
    if any(node.comments is not None and ("--" in text or "/*" in text) for node in tree.walk()):
        raise UserError(f"{at} has a comment", "leave it out; two minus signs begin one: write a - (-b)")
    return tree


def bare(text: str) -> bool:
    """Say whether an expression is one word, such as the name of a column: the parser takes long to import."""
    return re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) is not None


def names_in(tree: Expression) -> set[str]:
    """Return the columns that an expression names."""
    from sqlglot.expressions import Column

    return {column.name for column in tree.find_all(Column)}


def operands(node: Expression) -> Iterator[Any]:
    """Yield what a node is made of, in order."""
    yield from node.iter_expressions()


def literal_number(node: Any) -> float | None:
    """Return the number that a node writes out, with its sign; None where it is none."""
    from sqlglot.expressions import Literal, Neg

    if isinstance(node, Neg):
        inner = literal_number(node.this)
        return None if inner is None else -inner
    if not isinstance(node, Literal) or node.is_string:
        return None
    try:
        return float(node.name)
    except ValueError:  # such as `. 2.5`, which the parser puts together
        return None


def _levels(tree: Any) -> int:
    most, row = 0, [tree]
    while row:
        row = [child for node in row for child in node.iter_expressions()]
        most += 1
    return most


def _operands_written(text: str) -> int:
    """Count the columns and values that a text has: the parser leaves some out that it has no place for."""
    from sqlglot import TokenType
    from sqlglot.dialects.postgres import Postgres

    tokens = Postgres().tokenize(text)
    values = (TokenType.NUMBER, TokenType.STRING)
    names = (TokenType.VAR, TokenType.IDENTIFIER)
    following = [token.token_type for token in tokens[1:]] + [None]
    return sum(
        token.token_type in values or (token.token_type in names and after != TokenType.L_PAREN)
        for token, after in zip(tokens, following, strict=True)
    )


def in_short(text: str) -> str:
    """Return as much of an expression as an error shows, in one line."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}..."
