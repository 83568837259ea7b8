"""Requests that share a budget: each waits for room in it, and what it cost is written down once its reply is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from notus_exp.chat.messages import Messages, OnDiscarded, Reply
from notus_exp.errors import UserError
from notus_exp.judging.spending import Spending
from notus_exp.judging.verdicts import OnSpent


class NoRoom(Exception):  # noqa: N818 - no error: the end of a worker
    """The budget has no room for a request, also once all others are settled."""


class Purse:
    """Pays for the requests of one asking.

    Args:
        spending: Counts, and keeps the budget.
        on_spent: Called after each request that may have been paid for, discarded and unanswered ones too.

    Attributes:
        unaffordable: Why a request was not sent; None while all could be.
        discarded: Answers that were paid for and were no answer.
    """

    def __init__(self, spending: Spending, on_spent: OnSpent | None = None) -> None:
        self.spending, self._on_spent = spending, on_spent
        self.unaffordable: str | None = None
        self.discarded = 0
        self._settled = asyncio.Condition()

    async def pay(
        self,
        messages: Messages,
        ask: Callable[[OnDiscarded], Awaitable[Reply]],
        keep: Callable[[Reply], None],
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> bool:
        """Send a request once there is room for what it costs at most, and keep its reply.

        Args:
            messages: The chat.
            ask: Sends it; given what to await for every success that is no answer.
            keep: Given the reply, before its cost is written down.
            before: Awaited once there is room, before it is sent.

        Returns:
            Whether it was sent; `unaffordable` says why not.

        Raises:
            Unanswered: As `ask` does; its reservation is held, for it may have been paid.
            UserError: As `ask` or `keep` do.
        """
        try:
            await self._pay(messages, ask, keep, before)
        except NoRoom:
            return False
        return True

    async def _pay(
        self,
        messages: Messages,
        ask: Callable[[OnDiscarded], Awaitable[Reply]],
        keep: Callable[[Reply], None],
        before: Callable[[], Awaitable[object]] | None,
    ) -> None:
        reserved: float | None = await self._reserve(messages)
        reply, payable = None, False

        async def discard(prompt_tokens: int | None, completion_tokens: int | None, *, again: bool) -> None:
            nonlocal reserved
            assert reserved is not None, "a repetition that has no reservation is not sent"
            paid, reserved = reserved, None
            self.discarded += 1
            await self._settle(paid, prompt_tokens, completion_tokens)
            if again:
                reserved = await self._reserve(messages)

        try:
            if before:
                await before()
            payable = True
            reply = await ask(discard)
            keep(reply)
        except UserError:
            payable = reply is not None  # nobody charges for a request that is refused
            raise
        finally:
            if reserved is not None and payable:
                await self._settle(
                    reserved, *((reply.prompt_tokens, reply.completion_tokens) if reply else (None, None))
                )
            elif reserved is not None:
                self.spending.release(reserved)

    async def _reserve(self, messages: Messages) -> float:
        """Wait for room in the budget; `NoRoom` once no request that is under way can make any."""
        async with self._settled:
            while self.unaffordable is None:
                reserved = self.spending.reserve(messages)
                if reserved is not None:
                    return reserved
                if not self.spending.pending:
                    self.unaffordable = self.spending.no_room(messages)
                    self._settled.notify_all()
                else:
                    await self._settled.wait()
        raise NoRoom

    async def _settle(self, reserved: float, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        async with self._settled:
            counted = self.spending.settle(reserved, prompt_tokens, completion_tokens)
            self._settled.notify_all()
        if self._on_spent:
            self._on_spent(counted, (prompt_tokens or 0) + (completion_tokens or 0))
