"""Tokens and money of a judging: the estimate before, a budget that holds while it runs, the count after."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from notus_exp.chat.messages import Messages

CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly: for the estimate alone."""
PER_PRICE = 1_000_000
"""Prices are in USD per so many tokens."""


class Priced(Protocol):
    """Whoever is asked for money: a judge, or a writer of answers.

    Attributes:
        input_price: USD for `PER_PRICE` tokens read; None where it is not known.
        output_price: Likewise of tokens written.
        max_tokens: Tokens of a reply at most.
        budget: USD that may be spent; None for no limit.
    """

    @property
    def input_price(self) -> float | None: ...  # noqa: D102 - above

    @property
    def output_price(self) -> float | None: ...  # noqa: D102 - above

    @property
    def max_tokens(self) -> int: ...  # noqa: D102 - above

    @property
    def budget(self) -> float | None: ...  # noqa: D102 - above


class UsageForecast(NamedTuple):
    """What requests may use: tokens read and, at most, written, and USD (None without prices)."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def cost_of(judge: Priced, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """Return what so many tokens cost in USD; None where the config has no prices, or nobody tells how many."""
    if judge.input_price is None or judge.output_price is None or prompt_tokens is None or completion_tokens is None:
        return None
    return (prompt_tokens * judge.input_price + completion_tokens * judge.output_price) / PER_PRICE


def forecast(judge: Priced, requests: Iterable[Messages]) -> UsageForecast:
    """Estimate what requests will use: a token for four characters read, `max_tokens` written by each."""
    lengths = [sum(len(message["content"]) for message in messages) for messages in requests]
    read = sum(-(-length // CHARACTERS_PER_TOKEN) for length in lengths)
    written = len(lengths) * judge.max_tokens
    return UsageForecast(read, written, cost_of(judge, read, written))


class Spending:
    """Counts what is spent, and keeps it within `judge.budget`.

    Every request reserves the most that it can cost before it is sent, and the reservation is settled by what it did
    cost, or held where nobody tells that: so spent, held and reserved together never exceed the budget. What an
    endpoint charges for an answer that was lost on its way, before a repetition succeeded, is not in here.

    Args:
        judge: Prices and budget, as `judge_checks.check_judge` lets them pass.
        before: USD of the budget that are spent already.

    Attributes:
        prompt_tokens: Tokens read by requests that told them.
        completion_tokens: Tokens written by them.
        unknown: Requests that may have cost something and did not tell how many tokens.
    """

    def __init__(self, judge: Priced, before: float = 0.0) -> None:
        self._judge, self._before = judge, before
        self._reserved = 0.0
        self._pending = 0
        self._spent = 0.0
        self._held = 0.0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.unknown = 0

    @property
    def cost(self) -> float | None:
        """USD spent here, by what requests told; None without prices."""
        return None if self._judge.input_price is None else self._spent

    @property
    def held(self) -> float | None:
        """USD that the `unknown` requests cost at most; None without prices."""
        return None if self._judge.input_price is None else self._held

    @property
    def pending(self) -> int:
        """Requests that are reserved and not settled."""
        return self._pending

    def most(self, messages: Messages) -> float:
        """Return the most that a request can cost in USD; 0 without prices.

        No tokenizer makes more tokens than there are bytes; the bytes are those of the messages as JSON, whose frame
        covers the tokens that a chat template adds to each message.
        """
        size = len(json.dumps(messages, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return cost_of(self._judge, size, self._judge.max_tokens) or 0.0

    def reserve(self, messages: Messages) -> float | None:
        """Reserve a request's most possible cost and return it (USD), or None where the budget has no room for it."""
        most, budget = self.most(messages), self._judge.budget
        if budget is not None and self._before + self._spent + self._held + self._reserved + most > budget:
            return None
        self._reserved += most
        self._pending += 1
        return most

    def settle(self, reserved: float, prompt_tokens: int | None, completion_tokens: int | None) -> float:
        """Replace a reservation by what the request cost, and return what that counts against the budget (USD).

        Args:
            reserved: What `reserve` returned. All of it is held where the tokens are not known: the endpoint may
                charge also for an answer that did not come.
            prompt_tokens: Tokens read; None or 0 where nobody tells.
            completion_tokens: Tokens written; None where nobody tells.
        """
        self.release(reserved)
        if not prompt_tokens or completion_tokens is None:
            self.unknown += 1
            self._held += reserved
            return reserved
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        cost = cost_of(self._judge, prompt_tokens, completion_tokens) or 0.0
        self._spent += cost
        return cost

    def release(self, reserved: float) -> None:
        """Give back the reservation of a request that costs nothing: not sent, or refused."""
        self._pending -= 1
        self._reserved = self._reserved - reserved if self._pending else 0.0  # no rounding is left over

    def no_room(self, messages: Messages) -> str:
        """Say why a request has no room in the budget."""
        held = f", up to {self._held:.6g} by requests that did not tell their tokens ({self.unknown})"
        return (
            f"judge.budget={self._judge.budget:g} USD: {self._before:.6g} USD spent before, {self._spent:.6g} now"
            f"{held if self.unknown else ''}; the next request could cost {self.most(messages):.6g}"
        )
