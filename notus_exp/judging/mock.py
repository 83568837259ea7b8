"""A judge that decides by a hash of what it is shown: for tests and dry runs. Its verdicts mean nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from notus_exp.chat.messages import Messages, OnDiscarded, Reply
from notus_exp.disk.hashing import digest
from notus_exp.judging.json_questions import CRITIQUE, TOGETHER
from notus_exp.judging.parsing import FIRST, SCALE, SECOND
from notus_exp.judging.shown_texts import shown_texts
from notus_exp.judging.spending import CHARACTERS_PER_TOKEN

SNAPSHOT = "mock"
RATING = "rating"
TOP_LOGPROBS = 5
"""In the keys of its replies with log-probs; it gives those of the two tokens alone."""
DRAWS = 0.1
"""Share of draws, where the parser knows them."""


class MockChat:
    """Answers at once, the same to the same messages, in the words that a parser reads.

    Args:
        parser: "ranking", "logprobs", "letters", "rating", "together" or "critique".
        scale: The least and the best rating.
    """

    def __init__(self, parser: str, scale: tuple[float, float] = SCALE) -> None:
        by_parser: dict[str, Callable[[Messages], str]] = {
            "ranking": lambda messages: _token(_draw(messages)),
            "logprobs": lambda messages: _token(_draw(messages)),
            "letters": lambda messages: _letters(_draw(messages)),
            RATING: lambda messages: _rating(_draw(messages), scale),
            TOGETHER: lambda messages: _in_json(messages, scale),
            CRITIQUE: lambda messages: _in_json(messages, scale),
        }
        self._write = by_parser[parser]
        self._logprobs = parser == "logprobs"

    async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
        """Return the reply; none is ever discarded."""
        draw, text = _draw(messages), self._write(messages)
        read = sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN + 1
        written = len(text) // CHARACTERS_PER_TOKEN + 1
        top = [(FIRST, math.log1p(-draw)), (SECOND, math.log(max(draw, 1e-9)))] if self._logprobs else None
        return Reply(text, top, SNAPSHOT, read, written, "stop")


def _token(draw: float) -> str:
    return FIRST if draw < 0.5 else SECOND


def _letters(draw: float) -> str:
    if abs(draw - 0.5) < DRAWS / 2:
        return "Neither answer is better. [[C]]"
    return "The first answer is better. [[A]]" if draw < 0.5 else "The second answer is better. [[B]]"


def _rating(draw: float, scale: tuple[float, float]) -> str:
    return f"A made-up rating. Rating: [[{_number(draw, scale):g}]]"


def _in_json(messages: Messages, scale: tuple[float, float]) -> str:
    """Return a made-up rating of each answer, by a hash of the request and that answer alone."""
    shown = shown_texts(messages[-1]["content"])
    if shown is None:
        return "A question that the mock does not know."
    numbers = [_number(_draw([shown.instruction, answer]), scale) for answer in shown.answers]
    if shown.critique:
        return json.dumps({"id": shown.marks[0], "feedback": "Made-up feedback.", "overall_score": numbers[0]})
    entries = [
        {"id": mark, "rationale": "A made-up rating.", "rating": number}
        for mark, number in zip(shown.marks, numbers, strict=True)
    ]
    return json.dumps({"answers": entries})


def _number(draw: float, scale: tuple[float, float]) -> float:
    least, best = scale
    return least + int(draw * (int(best - least) + 1))


def _draw(shown: Any) -> float:
    return int(digest(shown)[:13], 16) / 16**13
