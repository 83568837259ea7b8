"""What is judged, what a judge says, and the verdict that is made of it.

judgments.parquet of an artifact `judgments` has one row a request, a `Verdict`. Below the stage is
cache/verdicts.sqlite: raw replies keyed by judge, snapshot, decoding and messages, parsed anew whenever they are read.
A reply without a verdict is a failed verdict, kept and never guessed, and so is a prompt that the endpoint refuses
while it answers others; a request that got no valid reply after all retries leaves the stage unfinished, and the same
command asks only for what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import polars as pl

from notus_exp.chat.messages import Messages

REFERENCE_FIRST, MODEL_FIRST = "reference_first", "model_first"
"""The two orders that a pair of answers can be shown in; "" where a judge sees no order."""


class AnswerPair(NamedTuple):
    """Two answers to one instruction, not yet in an order.

    Attributes:
        prompt_id: First 16 hex digits of the sha256 of the instruction.
        instruction: The user's message.
        reference: The answer compared with, AlpacaEval's `output_1`.
        model: The answer of the judged model, AlpacaEval's `output_2`.
    """

    prompt_id: str
    instruction: str
    reference: str
    model: str


class Grading(NamedTuple):
    """A conversation whose last answer is rated alone.

    Attributes:
        prompt_id: First 16 hex digits of the sha256 of the first question.
        turn: The turn that is rated, from 1.
        category: Of the question, such as "math".
        questions: The user's messages up to and with `turn`.
        answers: The model's answers to them.
        references: Reference answers to them; empty where there are none.
    """

    prompt_id: str
    turn: int
    category: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    references: tuple[str, ...]


class Prompted(NamedTuple):
    """One request to a judge: which prompt, turn and order, and what is sent."""

    prompt_id: str
    turn: int
    order: str
    messages: Messages


class Verdict(NamedTuple):
    """A judge's verdict on one request.

    Attributes:
        prompt_id: Of the pair or grading.
        turn: Turn that was rated, from 1; 1 for a pair.
        order: `REFERENCE_FIRST`, `MODEL_FIRST`, or "" where there was none.
        value: Of a pair the preference in [1, 2], 2 = the model wins, whatever the order shown; of a grading
            the rating; None where the verdict failed, or the judge says that none applies.
        reason: Why it failed, `NOT_APPLICABLE` where none applies, "" where there is a value.
        raw: What the judge said.
        snapshot: The judge as it names itself.
        prompt_tokens: Tokens read; None where nobody tells.
        completion_tokens: Tokens written, likewise.
        cost: USD at the config's prices, also where the reply came from the cache; None without prices or tokens.
    """

    prompt_id: str
    turn: int
    order: str
    value: float | None
    reason: str
    raw: str
    snapshot: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None


VERDICTS_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.String,
        "turn": pl.Int64,
        "order": pl.String,
        "value": pl.Float64,
        "reason": pl.String,
        "raw": pl.String,
        "snapshot": pl.String,
        "prompt_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "cost": pl.Float64,
    }
)


NOT_APPLICABLE = "N/A"
"""Reason of a verdict without a value that is none by the judge's leave: it did not fail."""


def failures_of(verdicts: Iterable[Verdict]) -> int:
    """Count the verdicts that failed."""
    return sum(verdict.value is None and verdict.reason != NOT_APPLICABLE for verdict in verdicts)


OnSpent = Callable[[float, int], None]
"""Told what a request counts against the budget (USD) and its tokens, read and written; 0 tokens where nobody knows."""


class OnProgress(Protocol):
    """Told how far a judging is: requests done, of how many, and numbers to show beside them."""

    def __call__(self, done: int, total: int, **shown: float) -> None:
        """Show it."""
        ...
