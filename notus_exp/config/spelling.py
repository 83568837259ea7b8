"""One spelling of what can be written in several ways: settings that mean the same make one key.

Of an expression only spaces and the case of SQL's words change, and it is parsed to see that nothing else does: a text
that is another tree in this spelling, such as one with a column called `end`, is left as it is. Its tree is not written
back instead, since sqlglot's text of one is not always in the language (MEDIAN) and seldom what the page writes (MOD).
"""

from __future__ import annotations

from dataclasses import replace

from notus_exp.config.curation_settings import Filters, PairRule, Rejected, Selection
from notus_exp.config.expression_trees import bare, parsed
from notus_exp.config.places import place_of
from notus_exp.errors import UserError

_WORDS = ("AND", "OR", "NOT", "CASE", "WHEN", "THEN", "ELSE", "END", "IS", "NULL", "IN", "BETWEEN", "LIKE", "ILIKE",
          "OVER", "ORDER", "BY", "DESC", "ASC", "TRUE", "FALSE")  # fmt: skip
"""Words of SQL, behind which a bracket or a minus sign begins a value."""
_CLOSING = (")", "END", "NULL", "TRUE", "FALSE")
"""What ends a value beside names, numbers and texts: a minus sign behind it subtracts."""


def spelled(text: str) -> str:
    """Return an expression in the spelling that its key has: one space around words and signs, SQL in capitals.

    Texts in quotes and the names of columns are untouched. `a>1 and b<2` is `a > 1 AND b < 2`.
    """
    if bare(text.strip()):
        return text.strip()
    try:
        tree = parsed(text, "")
        written = _joined(_pieces(text))
        return written if parsed(written, "") == tree else text
    except UserError:  # what is wrong is for the checks to say
        return text


def _pieces(text: str) -> list[str]:
    """Return the words and signs of an expression, SQL's and functions' in capitals."""
    from sqlglot.dialects.postgres import Postgres

    written = [text[token.start : token.end + 1] for token in Postgres().tokenize(text)]
    pieces = [part for piece in written for part in (piece.split() if bare(piece[:1]) else [piece])]  # ORDER BY is one
    following = [*pieces[1:], ""]
    return [
        piece.upper() if piece.upper() in _WORDS or (bare(piece) and after == "(") else piece
        for piece, after in zip(pieces, following, strict=True)
    ]


def _joined(pieces: list[str]) -> str:
    """Return pieces with one space between them, but for brackets, commas and signs of a number."""
    written, glued = "", True
    for before, piece in zip(["", *pieces[:-1]], pieces, strict=True):
        called = piece == "(" and bare(before) and before not in _WORDS
        written += piece if glued or called or piece in (")", ",") else f" {piece}"
        is_sign = piece in ("-", "+") and not _ends_value(before)
        glued = is_sign or piece in ("(", ".")
    return written


def _ends_value(piece: str) -> bool:
    return piece in _CLOSING or (piece not in _WORDS and (piece[-1:].isalnum() or piece[-1:] in ("_", "'", '"', ".")))


def spelled_place(text: str) -> str:
    """Return a place in the spelling that its key has: `quantile(0.25)`."""
    kind, opened, _ = text.strip().lower().partition("(")
    try:
        number = repr(place_of(text, "place").number).removesuffix(".0")
    except UserError:  # what is wrong is for the checks to say
        return text
    return f"{kind.strip()}({number})" if opened else kind


def spelled_curation(
    selection: Selection, rejected: Rejected, filters: Filters, pairs: PairRule
) -> tuple[Selection, Rejected, Filters, PairRule]:
    """Return settings of curation, each text that could be written otherwise in its one spelling."""

    def one(text: str | None) -> str | None:
        return None if text is None else spelled(text)

    place = None if rejected.place is None else spelled_place(rejected.place)
    number = pairs.per_prompt
    return (
        replace(selection, score=one(selection.score), place=spelled_place(selection.place)),
        replace(rejected, score=one(rejected.score), place=place),
        replace(filters, where=one(filters.where), keep=replace(filters.keep, by=one(filters.keep.by))),
        replace(pairs, weight=one(pairs.weight), per_prompt=str(int(number)) if number.isdecimal() else number),
    )
