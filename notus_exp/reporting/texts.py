"""Texts from data in the places that a reader sees: without signs that act on a terminal, no longer than fits."""

from __future__ import annotations

import os
import re
from typing import TextIO

SHOWN = "NOTUS_EXP_SHOWN"
"""The variable that tells a command, and the processes that it starts, how much to show."""
QUIET, VERBOSE = "quiet", "verbose"
"""Its values; without one of them a command shows what most readers want."""
_TURNING = "\u202a-\u202e\u2066-\u2069"
"""Characters that turn the direction of what follows them, so that a text reads as another (UAX 9, section 2)."""
_HIDDEN = re.compile(f"[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff{_TURNING}]")
"""These, and controls (Unicode's Cc) but for line ends and tabs, and halves of characters (Cs)."""


def visible(text: str) -> str:
    """Return a text in which control characters are drawn as signs, for terminals, which obey them, and for pages.

    Line ends and tabs stay. XML and HTML may hold none of the others.
    """
    return _HIDDEN.sub(lambda found: _sign(found[0]), text)


def in_one_line(text: str) -> str:
    """Return a name for a cell of a table: `visible`, its line ends and tabs drawn as well."""
    return visible(text).replace("\n", "\u240a").replace("\t", "\u2409")


def many(number: int, one: str, more: str | None = None) -> str:
    """Return a number with what it counts: `1 pair`, `2 pairs`, or `1 prompt has` and `2 prompts have`.

    Args:
        number: How many.
        one: The words for one.
        more: Those for any other number; None adds an s.
    """
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def tell(message: str, stream: TextIO) -> None:
    """Print a message for a reader; what its names hold reaches no terminal as a command."""
    print(visible(message), file=stream, flush=True)


def tell_path(path: str, stream: TextIO) -> None:
    """Print a path: for a reader on a terminal, byte for byte where a program reads it."""
    if stream.isatty():
        tell(path, stream)
        return
    stream.flush()
    stream.buffer.write(os.fsencode(path) + b"\n")
    stream.flush()


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
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"
