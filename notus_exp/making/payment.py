"""What answers of an endpoint cost, and those that were paid for before, in any run: they are not asked for again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from notus_exp.chat.messages import Messages, Reply
from notus_exp.disk.hashing import digest
from notus_exp.generation.leniency import SendRequest
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.purse import Purse
from notus_exp.stages.settings import ResponsesSettings

ANSWER = "answer"
"""Tells keys of answers from those of verdicts, which the same cache holds."""


class WriterPrices(NamedTuple):
    """Prices of a writer, the longest answer, and what the run may spend; see `judging.spending.Priced`."""

    input_price: float | None
    output_price: float | None
    max_tokens: int
    budget: float | None


class KeptAnswers:
    """Pays for what the cache of replies does not hold, and puts into it what comes (`generation.leniency.Payer`).

    So more prompts, or another writer in the pool, cost what is new. As of verdicts, an endpoint's address is not in
    the key.

    Args:
        purse: Pays.
        cache: Of the output folder.
        settings: The writer's: what moves its answer to a prompt is in the key.

    Attributes:
        from_cache: Answers that nobody was asked for.
    """

    def __init__(self, purse: Purse, cache: ReplyCache, settings: ResponsesSettings) -> None:
        self._purse, self._cache = purse, cache
        sampling: list[Any] = [settings.temperature, settings.max_new_tokens, settings.seed]
        self._made_from = [ANSWER, settings.writer, settings.endpoint_model, *sampling, settings.token_limit_parameter]
        self.from_cache = 0

    @property
    def unaffordable(self) -> str | None:
        """Why a request was not sent; None while all could be."""
        return self._purse.unaffordable

    async def pay(self, messages: Messages, ask: SendRequest, keep: Callable[[Reply], None]) -> bool:
        """Keep the reply that the cache has, else that of the endpoint; return False where there is no money for it."""
        key = digest([*self._made_from, messages])
        known = self._cache.get_many([key]).get(key)
        if known is not None:
            keep(known)
            self.from_cache += 1
            return True
        return await self._purse.pay(messages, ask, lambda reply: keep(self._cache.put(key, reply)))
