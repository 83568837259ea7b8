"""Asking once more for what holds no verdict: a reply that came is paid for and kept, but its server may be mended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from notus_exp.chat.messages import Reply
from notus_exp.judging.asking import Answered, origins

Ask = Callable[[list[int], int, float], Awaitable[Answered]]
"""Asks the prompts at some places, which were asked so often before, after so many USD were spent on others here."""


async def ask_again(ask: Ask, prompts: int, again: int, read: Callable[[int, Reply], float]) -> Answered:
    """Return a reply to every prompt: the first that holds all verdicts, else the last of those that hold most.

    Args:
        ask: Asks, or reads what an earlier run was told.
        prompts: How many there are.
        again: How often a prompt is asked once more at most.
        read: Which share of the verdicts that are asked for the reply to the prompt at a place holds, in [0, 1].

    Returns:
        Facts as of `ask_all`, of all askings together; `asked_again` counts those after the first, so that from_cache,
        asked and repeated add up to the prompts and these.
    """
    answered = await ask([*range(prompts)], 0, 0.0)
    replies, facts = list(answered.replies), answered.facts | {"asked_again": 0}
    for times in range(1, again + 1):
        held = {place: read(place, reply) for place, reply in enumerate(replies)}
        failed = [place for place, share in held.items() if share < 1]
        if not failed:
            break
        spent = (facts["cost"] or 0.0) + (facts["cost_reserved"] or 0.0)
        answered = await ask(failed, times, spent)
        for place, reply in zip(failed, answered.replies, strict=True):
            replies[place] = reply if read(place, reply) >= held[place] else replies[place]
        facts = _together(facts, answered.facts | {"asked_again": len(failed)})
        facts["refused"] = sum(bool(reply.refused) for reply in replies)
    return Answered(replies, facts | origins(replies))


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add numbers up; money is not known of either where there are no prices."""
    return {
        name: None if one[name] is None else one[name] + other[name] for name in one if not isinstance(one[name], dict)
    }
