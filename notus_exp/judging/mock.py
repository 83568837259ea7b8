"""A judge that decides by a hash of what it is shown: for tests and dry runs. Its verdicts mean nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from notus_exp.chat.messages import Messages, OnDiscarded, Reply
from notus_exp.disk.hashing import digest
from notus_exp.judging.parsing import FIRST, SCALE, SECOND
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
        parser: "ranking", "logprobs", "letters" or "rating".
        scale: The least and the best rating.
    """

    def __init__(self, parser: str, scale: tuple[float, float] = SCALE) -> None:
        by_parser: dict[str, Callable[[float], str]] = {
            "ranking": _token,
            "logprobs": _token,
            "letters": _letters,
            RATING: partial(_rating, scale=scale),
        }
        self._write = by_parser[parser]
        self._logprobs = parser == "logprobs"

    async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
        """Return the reply; none is ever discarded."""
        draw = int(digest(messages)[:13], 16) / 16**13
        text = self._write(draw)
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
    least, best = scale
    return f"A made-up rating. Rating: [[{least + int(draw * (int(best - least) + 1)):g}]]"
