"""What a model that thinks aloud answers: its thoughts end with `</think>`, and an answer follows, or none."""

from __future__ import annotations

BEGIN, END = "<think>", "</think>"


def thinks(text: str) -> bool:
    """Say whether a reply holds thoughts, ended or not."""
    return BEGIN in text or END in text


def after_thinking(text: str, *, cut: bool) -> str | None:
    """Return what follows the last thought, the text itself where there is none; None where the thinking did not end.

    A thought that begins and does not end swallows the rest, wherever it begins.

    Args:
        text: A reply. Some templates open the thought themselves, so that a reply has its end alone.
        cut: The reply was cut at its token limit: without any `</think>` it may be thought from beginning to end.
    """
    _, ended, answer = text.rpartition(END)
    if BEGIN in answer or (cut and not ended):
        return None
    return answer.lstrip() if ended else text
