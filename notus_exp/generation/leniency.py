"""Whether questions may stay without an answer, and who pays for the answers of an endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from notus_exp.chat.messages import Messages, OnDiscarded, Reply

SendRequest = Callable[[OnDiscarded | None], Awaitable[Reply]]
"""Sends a request; told what to call for each success that is no answer, before it is repeated."""


class Payer(Protocol):
    """Pays for requests, as far as there is money.

    Attributes:
        unaffordable: Why a request was not sent; None while all could be.
    """

    @property
    def unaffordable(self) -> str | None: ...  # noqa: D102 - above

    async def pay(self, messages: Messages, ask: SendRequest, keep: Callable[[Reply], None]) -> bool:
        """Send a request and keep its reply before its cost is written down; return False where it was not sent.

        A reply that is kept is on the disk by then, whatever becomes of this machine.
        """


class Leniency(NamedTuple):
    """What is allowed of answers.

    Attributes:
        some_may_lack: A question that the endpoint refuses, while it answers others, or that is longer than the model
            reads, is answered by why (`Answer.refused`) and ends nothing.
        payer: Pays for each request; None where nobody counts.
    """

    some_may_lack: bool = False
    payer: Payer | None = None


STRICT = Leniency()
