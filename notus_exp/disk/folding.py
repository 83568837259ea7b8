"""When two texts are the same prompt: as Unicode in NFC, each run of white space one space, none at the ends."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from notus_exp.disk.hashing import prompt_id


def folded(text: str) -> str:
    """Return a text in NFC (Unicode Standard Annex 15) with its white space folded.

    Texts that fold to the same look the same, or nearly so: one ends in a line end, or has an accent as a character of
    its own. Folding twice changes nothing more.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def folded_ids(prompt_ids: Iterable[str], instructions: Iterable[str]) -> list[str]:
    """Return the ids that folded prompts have: the same for prompts that fold to the same, else another.

    Args:
        prompt_ids: Id of each instruction; it is the folded one's too where the instruction is folded already.
        instructions: The prompts' texts.
    """
    pairs = ((known, text, folded(text)) for known, text in zip(prompt_ids, instructions, strict=True))
    return [known if same == text else prompt_id(same) for known, text, same in pairs]
