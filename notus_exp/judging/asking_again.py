"""Asking once more for what holds no verdict: a reply that came is paid for and kept, but its server may be mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from notus_exp.chat.messages import Reply
from notus_exp.judging.asking import REFUSED, Answered

Ask = Callable[[list[int], int, float], Awaitable[Answered]]
"""Asks the prompts at some places, which were asked so often before, after so many USD were spent on others here."""


async def ask_again(ask: Ask, prompts: int, again: int, is_read: Callable[[Reply], bool]) -> Answered:
    """Return a reply to every prompt: the first that holds a verdict, else the last.

    Args:
        ask: Asks, or reads what an earlier run was told.
        prompts: How many there are.
        again: How often a prompt is asked once more at most.
        is_read: Whether a reply holds a verdict.

    Returns:
        Facts as of `ask_all`, of all askings together; `asked_again` counts those after the first, so that from_cache,
        asked and repeated add up to the prompts and these.
    """
    answered = await ask([*range(prompts)], 0, 0.0)
    replies, facts = list(answered.replies), answered.facts | {"asked_again": 0}
    for times in range(1, again + 1):
        failed = [place for place, reply in enumerate(replies) if not is_read(reply)]
        if not failed:
            break
        spent = (facts["cost"] or 0.0) + (facts["cost_reserved"] or 0.0)
        answered = await ask(failed, times, spent)
        for place, reply in zip(failed, answered.replies, strict=True):
            replies[place] = reply
        facts = _together(facts, answered.facts | {"asked_again": len(failed)})
    names = Counter(reply.snapshot for reply in replies if reply.finish_reason != REFUSED)
    return Answered(replies, facts | {"snapshots": dict(sorted(names.items()))})


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add numbers up; money is not known of either where there are no prices."""
    return {name: None if one[name] is None else one[name] + other[name] for name in one if name != "snapshots"}
