"""What the judges of a run have cost, over all attempts of the run: written down as it is spent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from xxhash import xxh3_64

from notus_exp.disk.aside import free_name
from notus_exp.disk.json_lines import append_line, keep_lines, write_lines

_NUMBERS = ("usd", "tokens", "usd_before", "tokens_before")
_ROUNDING = 1e-9
"""By how much, relatively, two sums of the same payments may differ."""
_LONGEST = 400
"""Bytes of a line at most: a longer rest of a file was not left by a kill."""


class Ledger:
    """A file with a line a payment; a run's judgings, and its later attempts, share a budget through it.

    A line also says what was spent before it, and has a seal: a line that is damaged is left out, and what it said
    follows from the next one.

    Args:
        path: The file; made with the first payment. A half-written last line is left out, and cut off by the
            next payment.

    Attributes:
        usd: Spent so far.
        tokens: Read and written so far.
        damaged: Lines that are no payment, or another than was written.
        unknown: Those of them that no later line makes up for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.usd, self.tokens = 0.0, 0
        self.damaged, self.unknown = 0, 0
        self._whole = False  # others read the file while its writer is at work: only a writer cuts it
        for line in _lines(path):
            self._take(_payment(line))

    def add(self, usd: float, tokens: int) -> None:
        """Write down a payment: USD (0 where there are no prices) and tokens read and written."""
        if not self._whole:
            keep_lines(self._path)
            self._whole = True
        payment = {"usd": usd, "tokens": tokens, "usd_before": self.usd, "tokens_before": self.tokens}
        append_line(self._path, {**payment, "seal": _seal_of(payment)})
        self.usd += usd
        self.tokens += tokens

    def mend(self) -> str | None:
        """Where lines are damaged keep the file as it is under another name, and write the others anew.

        Returns:
            What was done, for the user; None where nothing was damaged.
        """
        if not self.damaged:
            return None
        kept = free_name(self._path)
        shutil.copyfile(self._path, kept)
        first = {"usd": self.usd, "tokens": self.tokens, "usd_before": 0.0, "tokens_before": 0}
        new = self._path.with_name(f"{self._path.name}.new")
        write_lines(new, [{**first, "seal": _seal_of(first)}])
        new.replace(self._path)
        unknown = (
            f"; {self.unknown} payments at its end are not known and count as nothing against judge.budget"
            if self.unknown
            else "; what they said follows from the others"
        )
        return f"{self._path}: {self.damaged} lines are damaged, and it is kept as {kept.name}{unknown}"

    def catch_up(self, usd: float, tokens: int) -> str | None:
        """Write down what is known otherwise to have been spent at least, and is not in the file: its end was lost.

        Returns:
            What was added, for the user; None where nothing was.
        """
        more_usd, more_tokens = usd - self.usd, tokens - self.tokens
        if more_usd <= _ROUNDING * usd and more_tokens <= 0:
            return None
        self.add(max(more_usd, 0.0), max(more_tokens, 0))
        return f"{self._path} tells less than was spent: {more_tokens} tokens and {more_usd:.6g} USD are added"

    def _take(self, payment: dict[str, Any] | None) -> None:
        if payment is None:
            self.damaged += 1
            self.unknown += 1
            return
        if "usd_before" in payment:  # what was spent before is known from here, whatever became of earlier lines
            self.usd, self.tokens, self.unknown = payment["usd_before"], payment["tokens_before"], 0
        self.usd += payment["usd"]
        self.tokens += payment["tokens"]


def _lines(path: Path) -> list[bytes]:
    """Return the complete lines, and the rest of a file that no half-written line can be."""
    if not path.exists():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    return [*lines, rest] if len(rest) > _LONGEST or b"\0" in rest else lines


def _payment(line: bytes) -> dict[str, Any] | None:
    """Return the payment of a line; None where it is none, or does not fit its seal."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not {"usd", "tokens"} <= content.keys():
        return None
    payment = {name: content[name] for name in _NUMBERS if name in content}
    if not all(type(value) in (int, float) and 0 <= value < float("inf") for value in payment.values()):
        return None
    if len(payment) not in (2, 4):
        return None
    if "seal" not in content:  # a line from before there were any tells two numbers
        return payment if len(payment) == 2 else None
    return payment if content["seal"] == _seal_of(payment) else None


def _seal_of(payment: dict[str, Any]) -> str:
    return xxh3_64(json.dumps(payment, sort_keys=True).encode()).hexdigest()
