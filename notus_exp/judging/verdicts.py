"""What is judged, what a judge says, and the verdict that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import polars as pl

Messages = list[dict[str, str]]
"""A chat: `role` and `content` of each message."""

REFERENCE_FIRST, MODEL_FIRST = "reference_first", "model_first"
"""The two orders that a pair of answers can be shown in; "" where a judge sees no order."""


class Comparison(NamedTuple):
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


class Reply(NamedTuple):
    """What a chat model answered.

    Attributes:
        text: The message, "" where it is empty.
        top_logprobs: Likeliest first tokens with their log-probs (nats); None where none were asked for or given.
        snapshot: The model as the endpoint names it.
        prompt_tokens: Tokens read, 0 where the endpoint does not say.
        completion_tokens: Tokens written, 0 where the endpoint does not say.
        finish_reason: "stop", "length", ...; "" where the endpoint does not say.
    """

    text: str
    top_logprobs: list[tuple[str, float]] | None
    snapshot: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class Verdict(NamedTuple):
    """A judge's verdict on one request.

    Attributes:
        prompt_id: Of the comparison or grading.
        turn: Turn that was rated, from 1; 1 for a comparison.
        order: `REFERENCE_FIRST`, `MODEL_FIRST`, or "" where there was none.
        value: Of a comparison the preference in [1, 2], 2 = the model wins, whatever the order shown; of a grading
            the rating; None where the verdict failed.
        reason: Why it failed, "" where it did not.
        raw: What the judge said.
        snapshot: The judge as it names itself.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        cost: USD at the config's prices, also where the reply came from the cache; None without prices.
    """

    prompt_id: str
    turn: int
    order: str
    value: float | None
    reason: str
    raw: str
    snapshot: str
    prompt_tokens: int
    completion_tokens: int
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


class Unanswered(Exception):  # noqa: N818 - the name says what happened to the request
    """A request that got no valid answer although it was repeated.

    Args:
        reason: What happened, without any secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


OnSpent = Callable[[float, int], None]
"""Told what a request counts against the budget (USD) and its tokens, read and written; 0 tokens where nobody knows."""


class OnDiscarded(Protocol):
    """Told of an answer that was paid for and cannot be used, before the request is repeated."""

    async def __call__(self, prompt_tokens: int | None, completion_tokens: int | None, *, again: bool) -> None:
        """Count it.

        Args:
            prompt_tokens: Tokens read, None where the answer does not tell both numbers.
            completion_tokens: Tokens written, likewise.
            again: The request is repeated next; what this raises then ends it.
        """
        ...


class ChatBackend(Protocol):
    """Whoever answers a chat."""

    async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
        """Return the answer.

        Args:
            messages: The chat.
            on_discarded: Awaited for every success whose body is no answer.

        Raises:
            Unanswered: No valid answer came, also not when asked again.
            UserError: No request of this kind can succeed, such as with a wrong key.
        """
        ...


class Progress(Protocol):
    """Told how far a judging is: requests done, of how many, and numbers to show beside them."""

    def __call__(self, done: int, total: int, **shown: float) -> None:
        """Show it."""
        ...
