"""What a reader of a run's metrics must know of a supervised training before its preferences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.reporting.texts import many


def sft_notes(facts: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """Return notes on what was learnt first, and on conversations that were left out, cut or read differently.

    Args:
        facts: Node name -> what it counted.
        config: As run.json holds it; an older one has no such training.
    """
    counted, sft = facts.get("sft"), config.get("sft", {})
    if counted is None:
        return []
    learnt = counted["conversations_trained"]
    notes = [
        f"sft={sft.get('name')}: the base model was trained on {many(learnt, 'conversation')} first, and what that "
        "made is the base and the reference of everything that follows"
    ]
    limit = f"sft.max_length={sft.get('max_length')}"
    if number := counted.get("conversations_too_long", 0):
        notes.append(
            f"{many(number, 'conversation has', 'conversations have')} no answer within {limit} and "
            f"{_were(number)} left out of sft"
        )
    if number := counted.get("conversations_truncated", 0):
        notes.append(f"{number} of {learnt} conversations ({number / learnt:.0%}) lose their end in sft at {limit}")
    if number := counted.get("conversations_with_special_tokens", 0):
        kept = sft.get("special_tokens") == "keep"
        notes.append(
            f"{many(number, 'conversation holds', 'conversations hold')} a mark of the model's own in a text, such as "
            f"its end token, and {_were(number)} {'kept' if kept else 'left out of sft'} "
            f"(sft.special_tokens={sft.get('special_tokens')})"
        )
    if number := counted.get("conversations_altered", 0):
        notes.append(
            f"the chat template does not write the answers of {many(number, 'conversation')} as they "
            "are: in sft the model reads what is left"
        )
    if number := counted.get("system_turns_hidden", 0):
        notes.append(
            f"{many(number, 'conversation begins', 'conversations begin')} with a system turn of the data that the "
            "chat template does not show: in sft the model never sees it"
        )
    if number := counted.get("bad_records", 0):
        notes.append(
            f"{many(number, 'record', 'records')} of the chat set {_were(number)} malformed and left out of sft"
        )
    return notes


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
