"""What a model that thinks aloud answers: its thoughts end with `</think>`, and an answer follows, or none."""

from __future__ import annotations

BEGIN, END = "<think>", "</think>"


def after_thinking(text: str, *, cut: bool) -> str | None:
    """Return what follows the last thought, the text itself where there is none; None where the thinking did not end.

    Args:
        text: A reply. Some templates open the thought themselves, so that a reply has its end alone.
        cut: The reply was cut at its token limit: without any `</think>` it may be thought from beginning to end.
    """
    _, ended, answer = text.rpartition(END)
    if not ended:
        return None if cut or text.lstrip().startswith(BEGIN) else text
    answer = answer.lstrip()
    return None if answer.startswith(BEGIN) else answer
