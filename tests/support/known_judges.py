"""Judges whose answers are known: they read what they are shown and decide by a rule of the test's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from notus_exp.chat.messages import Messages, OnDiscarded, Reply
from notus_exp.judging import mock
from notus_exp.judging.shown_texts import ShownTexts, shown_texts

Rule = Callable[[str, str], str]
"""Says of the answer shown first and the one shown second which wins: "first", "second" or "neither"."""
Rating = Callable[[str], str]
"""What a judge says of an answer."""


def judged_by(
    monkeypatch: pytest.MonkeyPatch, rule: Rule | None = None, rating: Rating | None = None
) -> list[Messages]:
    """Let `judge=mock` decide by these; return what it is asked, in the order of asking."""
    asked: list[Messages] = []

    class KnownChat:
        def __init__(self, parser: str, scale: tuple[float, float]) -> None:
            self.parser = parser

        async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
            asked.append(messages)
            text = messages[0]["content"]
            if self.parser == mock.RATING:
                assert rating is not None
                said = rating(_shown(text, "Answer"))
            else:
                assert rule is not None
                names, words = {"letters": ("AB", "AB"), "ranking": ("mM", "mM")}[self.parser]
                wins = rule(*(_shown(text, f"Answer {name}") for name in names))
                said = {"first": words[0], "second": words[1], "neither": "C"}[wins]
                said = f"Because. [[{said}]]" if self.parser == "letters" else said
            return Reply(said, None, "known", 100, 10, "stop")

    monkeypatch.setattr(mock, "MockChat", KnownChat)
    return asked


def _shown(text: str, name: str) -> str:
    found: Any = re.search(rf"=== {name} ===\n(.*?)\n=== End", text, re.DOTALL)
    return str(found[1])


def longer(first: str, second: str) -> str:
    """Prefer the longer answer, and the first of two that are as long."""
    return "first" if len(first) >= len(second) else "second"


def always_first(first: str, second: str) -> str:
    """Prefer what is shown first, whatever it is."""
    return "first"


def by_quality(quality: dict[str, float]) -> Rule:
    """Prefer the answer of the higher quality, by its text; of equal ones neither."""

    def rule(first: str, second: str) -> str:
        if quality[first] == quality[second]:
            return "neither"
        return "first" if quality[first] > quality[second] else "second"

    return rule


def answered_in_json(monkeypatch: pytest.MonkeyPatch, reply: Callable[[ShownTexts], str]) -> list[ShownTexts]:
    """Let `judge=mock` say this of what it is shown, where replies are in JSON; return what it is shown."""
    asked: list[ShownTexts] = []

    class KnownJson:
        def __init__(self, parser: str, scale: tuple[float, float]) -> None:
            pass

        async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
            shown = shown_texts(messages[0]["content"])
            assert shown is not None
            asked.append(shown)
            return Reply(reply(shown), None, "known", 100, 10, "stop")

    monkeypatch.setattr(mock, "MockChat", KnownJson)
    return asked


def ratings_of(shown: ShownTexts, rating: Callable[[str], Any]) -> str:
    """Return the JSON that rates each answer by its text."""
    entries = [
        {"id": mark, "rationale": f"About {text}.", "rating": rating(text)}
        for mark, text in zip(shown.marks, shown.answers, strict=True)
    ]
    return json.dumps({"answers": entries})
