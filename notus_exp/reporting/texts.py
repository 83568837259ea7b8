"""Texts from data in the places that a reader sees: without signs that no page can hold, and no longer than fits."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """Return a text in which control characters, which neither XML nor HTML may hold, are drawn as signs."""
    return "".join(_sign(letter) for letter in text)


def label(text: str, most: int = 30) -> str:
    """Return a name for a plot: on one line, of at most `most` characters, its end kept where it is cut."""
    line = visible(" ".join(text.split()))
    if len(line) <= most:
        return line
    head = most * 2 // 3
    return f"{line[:head]}…{line[head + 1 - most :]}"


def cut(text: str, most: int) -> str:
    """Return the beginning of a text, of at most `most` characters, with an ellipsis where something was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _sign(letter: str) -> str:
    code = ord(letter)
    if code < 0x20 and letter not in "\n\t":
        return chr(0x2400 + code)
    return (
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" else letter
    )
