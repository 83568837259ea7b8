"""When two texts are the same prompt: as Unicode in NFC, each run of white space one space, none at the ends."""

from __future__ import annotations

import unicodedata


def folded(text: str) -> str:
    """Return a text in NFC (Unicode Standard Annex 15) with its white space folded.

    Texts that fold to the same look the same, or nearly so: one ends in a line end, or has an accent as a character of
    its own. Folding twice changes nothing more.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())
