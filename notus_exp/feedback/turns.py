"""The turns of a conversation in the layouts that data has: texts, messages, lists of them, and transcripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from notus_exp.config.mapping_settings import ASSISTANT, MESSAGE_KEYS, ROLES, SYSTEM, USER, Layout
from notus_exp.errors import did_you_mean
from notus_exp.feedback.serialised import MESSAGES_AS_TEXT, as_text, holds_messages
from notus_exp.feedback.table import RowError, required_text


class Utterance(NamedTuple):
    """One turn: system, user or assistant, and what it says."""

    role: str
    content: str


def turns_of(value: Any, name: str, layout: Layout, plain: str) -> list[Utterance]:
    """Return the turns that a field holds.

    Args:
        value: A text, a message, a list of messages, or a list of parts (`{type: text, text}`).
        name: The field, for messages.
        layout: How messages and transcripts are written.
        plain: Whose turn a text is that is no transcript; also that of what stands before a transcript's first mark.

    Raises:
        RowError: It is none of these, a role is not known, a part is no text, or a text holds messages.
    """
    if isinstance(value, str):
        text = required_text(value, name)
        if holds_messages(text, _known_keys(layout), {name.lower() for name in ROLES | layout.roles}):
            raise RowError(as_text(name), MESSAGES_AS_TEXT)
        return _transcript(text, layout, plain) if layout.speakers else [Utterance(plain, text)]
    if isinstance(value, dict) and _keys(value, layout):
        return [_message(value, name, layout)]
    if isinstance(value, list) and not value:
        raise RowError(f"{name} is an empty list")
    if isinstance(value, list) and not _is_parts(value):
        return [_message(message, f"{name}[{index}]", layout) for index, message in enumerate(value)]
    return [Utterance(plain, _content(value, name))]


def alternating(turns: Sequence[Utterance], name: str) -> tuple[str | None, tuple[Utterance, ...]]:
    """Return the system turn (None without one) and the others, which user and assistant have by turns.

    Raises:
        RowError: They do not begin with the user's, or one of them speaks twice in a row: no chat template takes that.
    """
    system = turns[0].content if turns and turns[0].role == SYSTEM else None
    others = tuple(turns[0 if system is None else 1 :])
    for number, turn in enumerate(others):
        expected = (USER, ASSISTANT)[number % 2]
        if turn.role != expected:
            raise RowError(f"{name} has a turn of {turn.role} where {expected}'s is due (turn {number + 1})")
    return system, others


def _transcript(text: str, layout: Layout, plain: str) -> list[Utterance]:
    """Split a text at its marks; what stands before the first one is a turn too.

    An answer is a transcript only if it begins with a mark. A last turn of the assistant that is blank is none: it
    only asks for the answer.
    """
    marks = {mark.strip(): role for role, mark in layout.speakers.items()}
    begins = re.match("|".join(rf"\s*{re.escape(mark)}" for mark in marks), text)
    if plain == ASSISTANT and not begins:
        return [Utterance(plain, text)]
    written = {role: mark.rstrip() for role, mark in layout.speakers.items()}
    pattern = re.compile("|".join(f"(?P<{role}>{re.escape(mark)})" for role, mark in written.items()))
    start = begins.end() if begins else 0
    role = marks[begins.group().strip()] if begins else plain
    later = list(pattern.finditer(text, start))
    if not begins and not later:
        return [Utterance(plain, text)]
    turns = []
    for found in later:
        turns.append(Utterance(role, text[start : found.start()].strip()))
        role, start = str(found.lastgroup), found.end()
    last = Utterance(role, text[start:].strip())
    return turns if turns and last == (ASSISTANT, "") else [*turns, last]


def _message(value: Any, name: str, layout: Layout) -> Utterance:
    keys = _keys(value, layout) if isinstance(value, dict) else None
    if keys is None:
        raise RowError(f"{name} is not a message with {' or '.join(map(' and '.join, _known_keys(layout)))}")
    said = value[keys[0]]
    role = (layout.roles.get(said) or ROLES.get(said)) if isinstance(said, str) else None
    if role is None:
        hint = f"{did_you_mean(str(said), ROLES | layout.roles)}; data.mapping.roles may name others"
        raise RowError(f"{name}.{keys[0]} is {str(said)[:60]!r}: {hint}")
    return Utterance(role, _content(value[keys[1]], f"{name}.{keys[1]}"))


def _known_keys(layout: Layout) -> tuple[tuple[str, str], ...]:
    """Return the fields of messages, those that the layout names in place of those that are known."""
    if layout.role_key is None and layout.content_key is None:
        return MESSAGE_KEYS
    return ((layout.role_key or MESSAGE_KEYS[0][0], layout.content_key or MESSAGE_KEYS[0][1]),)


def _keys(message: dict[str, Any], layout: Layout) -> tuple[str, str] | None:
    for keys in _known_keys(layout):
        if message.get(keys[0]) is not None and keys[1] in message:  # a table has each field that any message has
            return keys
    return None


def _is_parts(value: list[Any]) -> bool:
    return all(isinstance(part, dict) and "type" in part and "role" not in part for part in value)


def _content(value: Any, name: str) -> str:
    """Return what a message says: a text, or the texts of its parts joined.

    Raises:
        RowError: It is neither, or a part is an image or the like.
    """
    if not isinstance(value, list):
        return required_text(value, name)
    texts = []
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise RowError(f"{name}[{index}] is a part of type {str(kind)[:60]!r}: only text is read")
        texts.append(required_text(part.get("text"), f"{name}[{index}].text"))
    return "".join(texts)
