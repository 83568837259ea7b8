"""How long to wait before a request is repeated: by backoff, or as long as the server asks, and then nobody asks it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from notus_exp.errors import UserError

BACKOFF_SECONDS, MOST_BACKOFF_SECONDS, JITTER = 0.5, 8.0, 0.25
"""The first wait, doubled each time up to the most, each cut by up to a quarter: those of the official client."""


def backoff(repetition: int) -> float:
    """Return how many seconds to wait before a repetition, counted from 0."""
    longest: float = min(BACKOFF_SECONDS * 2**repetition, MOST_BACKOFF_SECONDS)
    return longest * (1 - JITTER * random.random())


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait; None where it asks for nothing that can be waited for.

    Args:
        headers: Of its answer, names in lower case: `retry-after-ms`, or `retry-after` in seconds or as a date
            (RFC 9110, section 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name)) / unit
        if math.isfinite(seconds):
            return seconds if seconds > 0 else None
    try:
        moment = parsedate_to_datetime(headers.get("retry-after") or "")
    except (ValueError, IndexError):
        return None
    seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None


def in_words(seconds: float) -> str:
    """Return a wait as a person says it: "45 seconds", "3 minutes", "2 hours", "3 days"."""
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if round(seconds) >= 2 * size:
            return f"{seconds / size:.3g} {name}s"
    return f"{seconds:.3g} seconds"


class Pause:
    """The time during which a server wants no request, shared by all that would ask it.

    Args:
        server: Its address, for the error.
        longest: Seconds that are waited at most.
        setting: The key that says so, for the error.
    """

    def __init__(self, server: str, longest: float, setting: str) -> None:
        self._server, self._longest, self._setting = server, longest, setting
        self._until = -math.inf

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so many seconds from now on; a longer pause that goes on already stays."""
        self._until = max(self._until, time.monotonic() + seconds)

    async def over(self) -> None:
        """Wait until the server may be asked.

        Raises:
            UserError: That is longer than is waited for.
        """
        while (left := self._until - time.monotonic()) > 0:
            if left > self._longest:
                raise UserError(
                    f"{self._server} asks to wait {in_words(left)} before the next request (Retry-After), longer than "
                    f"{self._setting}={self._longest:g} seconds",
                    "give the same command again then (what was answered is kept), or allow a longer wait with "
                    f"{self._setting}=SECONDS",
                )
            await asyncio.sleep(left)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
