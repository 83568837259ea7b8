"""Marks that fence the texts which a judge is shown: made of these texts themselves, so that none can hold one."""

from __future__ import annotations

from collections.abc import Sequence

from notus_exp.disk.hashing import digest

LETTERS = 8
"""Of a mark."""
_OF_HEX = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


def marks_of(texts: Sequence[str]) -> list[str]:
    """Return a mark for each text, of letters from a to p; all differ, and none stands in any of the texts.

    A text cannot be written so that it holds its mark, which is a hash of all texts; one that does by chance gets
    another mark.

    Args:
        texts: What is shown, n texts.
    """
    for attempt in range(len(texts) + 1_000):
        found = [digest([attempt, number, *texts])[:LETTERS].translate(_OF_HEX) for number in range(len(texts))]
        if len(set(found)) == len(found) and not any(mark in text for mark in found for text in texts):
            return found
    raise AssertionError("16^8 marks, and each of a thousand attempts meets one that stands in the texts")
