"""A judge that goes by how many of the constraints that a simulated prompt states an answer keeps.

It reads the constraints from the request's own words, as anybody would have to, checks them by
`feedback.simulated.constraints`, and knows nothing else: neither whether a statement is true nor who wrote it. So a
pipeline without any model learns something real. A request that states no such constraint gets no verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from notus_exp.chat.messages import Messages, OnDiscarded, Reply
from notus_exp.disk.hashing import digest
from notus_exp.feedback.simulated.constraints import follows
from notus_exp.feedback.simulated.stated import stated_constraints
from notus_exp.judging.json_questions import CRITIQUE, TOGETHER
from notus_exp.judging.parsing import FIRST, SECOND
from notus_exp.judging.shown_texts import ShownTexts, shown_texts
from notus_exp.judging.spending import CHARACTERS_PER_TOKEN

SNAPSHOT_NAME = "constraints"
NOTHING_STATED = "The request states no constraint that can be checked, so there is no verdict."
_SURE = 0.9
"""Probability that a preference by log-probs gives to the answer that keeps more."""


class _Kept(NamedTuple):
    """Which of the stated constraints an answer keeps, by kind."""

    kept: list[str]
    broken: list[str]

    @property
    def share(self) -> float:
        return len(self.kept) / (len(self.kept) + len(self.broken))

    @property
    def words(self) -> str:
        number = len(self.kept) + len(self.broken)
        kept = f"It keeps {len(self.kept)} of {number} stated constraints"
        return f"{kept}; not kept: {', '.join(self.broken)}." if self.broken else f"{kept}."


class ConstraintChat:
    """Answers at once, the same to the same messages, in the words that a parser reads.

    Args:
        parser: "ranking", "logprobs", "letters", "rating", "together" or "critique".
        scale: The least and the best rating.
    """

    def __init__(self, parser: str, scale: tuple[float, float]) -> None:
        by_parser: dict[str, Callable[[ShownTexts, list[_Kept]], str]] = {
            "ranking": self._token,
            "logprobs": self._token,
            "letters": self._letter,
            "rating": self._rating,
            TOGETHER: self._ratings,
            CRITIQUE: self._critique,
        }
        self._write, self._scale, self._logprobs = by_parser[parser], scale, parser == "logprobs"

    async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
        """Return the reply; none is ever discarded."""
        question = messages[-1]["content"]
        shown = shown_texts(question)
        stated = stated_constraints(shown.instruction) if shown else []
        text = NOTHING_STATED
        top: list[tuple[str, float]] | None = None
        if shown and stated:
            found = [
                _Kept(
                    [one.kind for one in stated if follows(one, answer)],
                    [one.kind for one in stated if not follows(one, answer)],
                )
                for answer in shown.answers
            ]
            text = self._write(shown, found)
            if self._logprobs:
                sure = {FIRST: _SURE, SECOND: 1 - _SURE} if text == FIRST else {FIRST: 1 - _SURE, SECOND: _SURE}
                top = [(name, math.log(share)) for name, share in sure.items()]
        read = len(question) // CHARACTERS_PER_TOKEN + 1
        return Reply(text, top, SNAPSHOT_NAME, read, len(text) // CHARACTERS_PER_TOKEN + 1, "stop")

    def _number(self, kept: _Kept) -> float:
        """Return a rating: the share kept, on the scale, rounded half up to a whole number."""
        least, best = self._scale
        return math.floor(least + kept.share * (best - least) + 0.5)

    def _token(self, shown: ShownTexts, found: list[_Kept]) -> str:
        """Name the answer that keeps more; of two that keep as much one by a hash of both."""
        first, second = (one.share for one in found)
        if first == second:
            return FIRST if digest([*shown.answers]) < digest([*reversed(shown.answers)]) else SECOND
        return FIRST if first > second else SECOND

    def _letter(self, shown: ShownTexts, found: list[_Kept]) -> str:
        first, second = found
        letter = "C" if first.share == second.share else "A" if first.share > second.share else "B"
        return f"A: {first.words} B: {second.words} [[{letter}]]"

    def _rating(self, shown: ShownTexts, found: list[_Kept]) -> str:
        return f"{found[0].words} [[{self._number(found[0]):g}]]"

    def _ratings(self, shown: ShownTexts, found: list[_Kept]) -> str:
        entries = [
            {"id": mark, "rationale": kept.words, "rating": self._number(kept)}
            for mark, kept in zip(shown.marks, found, strict=True)
        ]
        return _json({"answers": entries})

    def _critique(self, shown: ShownTexts, found: list[_Kept]) -> str:
        return _json({"id": shown.marks[0], "feedback": found[0].words, "overall_score": self._number(found[0])})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
