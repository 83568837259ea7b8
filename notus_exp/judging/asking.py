"""Asking many prompts at once: what the cache has is read, the rest is asked, and each reply is kept as it comes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiolimiter import AsyncLimiter

from notus_exp.chat.messages import ChatBackend, Messages, Reply, Unanswered
from notus_exp.config.judge_settings import ChatJudge
from notus_exp.errors import UserError
from notus_exp.judging.cache import ReplyCache, kept_replies, reply_key
from notus_exp.judging.purse import Purse
from notus_exp.judging.spending import Spending, forecast
from notus_exp.judging.verdicts import OnProgress, OnSpent

PROGRESS_SECONDS = 0.5
AGAIN = "what was answered is kept: the same command asks only for the rest"


class Answered(NamedTuple):
    """Replies in the order of the prompts, and facts about how they came.

    The facts: from_cache, asked, repeated (prompts that were asked once with an equal one; the three add up to the
    prompts), estimated_tokens and estimated_cost (before the first request), discarded (answers that were paid for and
    were no answer), prompt_tokens, completion_tokens and cost (of what was asked, discarded ones too, where it told its
    tokens; USD, None without prices), cost_unknown_requests (that did not tell), cost_reserved (USD that those cost at
    most, which the budget counts; None without prices), refused (prompts that the endpoint refuses, of those asked),
    snapshots and endpoints (name or address -> replies, cached ones too).
    """

    replies: list[Reply]
    facts: dict[str, Any]


async def ask_all(
    prompts: Sequence[Messages],
    judge: ChatJudge,
    backend: ChatBackend,
    cache: ReplyCache,
    on_progress: OnProgress | None = None,
    *,
    top_logprobs: int | None = None,
    schema: Mapping[str, Any] | None = None,
    again: int = 0,
    spent: float = 0.0,
    on_spent: OnSpent | None = None,
) -> Answered:
    """Return a reply to every prompt, from the cache or else from the backend.

    Each reply is in the cache before the next is asked for, so that no interruption loses one. `on_progress` is called
    before the first request, with `estimated_tokens` and `estimated_cost`, and then while replies come.

    Args:
        prompts: Messages of each request, n of them.
        judge: Concurrency, rate, budget, and what enters a reply's key.
        backend: Whoever answers.
        cache: Where replies are kept.
        on_progress: Told (done, total, numbers).
        top_logprobs: How many log-probs the backend asks for; part of the key.
        schema: The form of a reply that the backend asks for; part of the key where there is one.
        again: How often these prompts were asked before; part of the key where they were.
        spent: USD of judge.budget that earlier judgings spent.
        on_spent: Called after each request that may have been paid for, discarded and unanswered ones too.

    Raises:
        UserError: judge.offline and a reply is not in the cache; requests without an answer (all others are asked
            first); the budget is used up; the judge is another than judge.snapshot; the backend refuses. A prompt that
            an endpoint refuses which answers others has a reply that says `refused`, holds no verdict and is not kept.
    """
    keys = [reply_key(judge, messages, top_logprobs, again, schema) for messages in prompts]
    wanted = dict(zip(keys, prompts, strict=True))
    known = kept_replies(cache, judge, wanted, top_logprobs, again, schema)
    missing = {key: messages for key, messages in wanted.items() if key not in known}
    if missing and judge.offline:
        raise UserError(
            f"judge.offline=true, and {len(missing)} of {len(set(keys))} replies are not in the cache",
            "ask for them with judge.offline=false",
        )
    report = _Report(on_progress, len(set(keys)), len(known))
    asking = _Asking(
        missing, judge, backend, cache, report, Spending(judge, spent), on_spent, others=bool(known) or again > 0
    )
    asked = await asking.run()
    replies = [known[key] if key in known else asked[key] for key in keys]
    from_cache = sum(key in known for key in keys)
    facts = {
        "from_cache": from_cache,
        "asked": len(asked),
        "repeated": len(keys) - from_cache - len(asked),
        **asking.estimate,
        **asking.facts(),
        **origins(replies),
    }
    return Answered(replies, facts)


def origins(replies: Sequence[Reply]) -> dict[str, dict[str, int]]:
    """Count by which snapshot, and at which address, replies that came were given."""
    came = [reply for reply in replies if not reply.refused]
    return {
        "snapshots": dict(sorted(Counter(reply.snapshot for reply in came).items())),
        "endpoints": dict(sorted(Counter(reply.endpoint for reply in came if reply.endpoint).items())),
    }


class _Report:
    """Calls `on_progress` at most twice a second, and at the end."""

    def __init__(self, on_progress: OnProgress | None, total: int, done: int) -> None:
        self._on_progress, self._total, self.done = on_progress, total, done
        self._told = 0.0

    def show(self, **shown: float | None) -> None:
        now = time.monotonic()
        if self._on_progress and (now - self._told >= PROGRESS_SECONDS or self.done == self._total):
            self._told = now
            known = {name: number for name, number in shown.items() if number is not None}
            self._on_progress(self.done, self._total, **known)


class _Asking:
    """The requests of one judging, sent by `judge.concurrency` workers that share one list."""

    def __init__(
        self,
        missing: dict[str, Messages],
        judge: ChatJudge,
        backend: ChatBackend,
        cache: ReplyCache,
        report: _Report,
        spending: Spending,
        on_spent: OnSpent | None,
        *,
        others: bool,  # this endpoint answered others of the kind before
    ) -> None:
        self._others = others
        self._judge, self._backend, self._cache, self._report = judge, backend, cache, report
        self._spending, self._purse = spending, Purse(spending, on_spent)
        self._missing = missing
        self._waiting = iter(missing.items())
        self._replies: dict[str, Reply] = {}
        self._unanswered: list[Unanswered] = []
        self._refused: dict[str, Unanswered] = {}
        rate = judge.requests_per_minute  # one by one: a bucket of a minute's size would let a minute's worth through
        self._limiter = AsyncLimiter(1, 60 / rate) if rate else None
        expected = forecast(judge, missing.values())
        tokens = expected.prompt_tokens + expected.completion_tokens
        self.estimate: dict[str, Any] = {"estimated_tokens": tokens, "estimated_cost": expected.cost}

    async def run(self) -> dict[str, Reply]:
        self._report.show(**self.estimate)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._judge.concurrency, len(self._missing))):
                    group.create_task(self._work())
        except ExceptionGroup as group:  # the first failure cancelled the other workers
            raise group.exceptions[0] from None
        self._require_all()
        refused = {
            key: Reply("", None, "", None, None, "", refused=error.reason) for key, error in self._refused.items()
        }
        return self._replies | refused

    def facts(self) -> dict[str, Any]:
        """Return what was spent; see `Answered`."""
        return {
            "discarded": self._purse.discarded,
            "prompt_tokens": self._spending.prompt_tokens,
            "completion_tokens": self._spending.completion_tokens,
            "cost": self._spending.cost,
            "cost_unknown_requests": self._spending.unknown,
            "cost_reserved": self._spending.held,
            "refused": len(self._refused),
        }

    async def _work(self) -> None:
        for key, messages in self._waiting:
            if not await self._ask(key, messages):
                return
            self._report.show(cost=self._spending.cost)

    async def _ask(self, key: str, messages: Messages) -> bool:
        """Ask, and keep the reply; return False where the budget has no room for it."""
        try:
            return await self._purse.pay(
                messages,
                lambda discard: self._backend.ask(messages, discard),
                lambda reply: self._keep(key, reply),
                self._limiter.acquire if self._limiter else None,
            )
        except Unanswered as error:
            if error.lasting:
                self._refused[key] = error
                self._report.done += 1
            else:
                self._unanswered.append(error)
        return True

    def _keep(self, key: str, reply: Reply) -> None:
        expected = self._judge.snapshot
        if expected is not None and reply.snapshot != expected:
            raise UserError(
                f"judge.snapshot={expected}, but the endpoint answers as {reply.snapshot!r}",
                "name in judge.model the snapshot itself, or set judge.snapshot to what answers (null: any)",
            )
        self._replies[key] = self._cache.put(key, reply)
        self._report.done += 1

    def _require_all(self) -> None:
        """Raise where a request has no reply; all that could be sent have been."""
        kept, total = len(self._replies), len(self._missing)
        if self._purse.unaffordable is not None:
            raise UserError(
                f"{self._purse.unaffordable}; {kept} replies are kept, {total - kept} are missing",
                f"raise judge.budget; {AGAIN}",
            )
        # refused by a server that answers others: it is the prompt, and asking again changes nothing
        lacking = [*self._unanswered, *([] if kept or self._others else self._refused.values())]
        if lacking:
            first = lacking[0]
            raise UserError(
                f"judge: {len(lacking)} of {total} requests got no valid answer; the first: {first.reason}",
                f"{first.hint}; {AGAIN}" if first.hint else AGAIN,
            ) from first
