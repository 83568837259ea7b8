"""What the judges of a run have cost, over all attempts of the run: written down as it is spent."""

from __future__ import annotations

import json
from pathlib import Path

from notus_exp.disk.files import append_line


class Ledger:
    """A file with a line a payment; a run's judgings, and its later attempts, share a budget through it.

    Args:
        path: The file; made with the first payment. A half-written last line is left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.usd, self.tokens = 0.0, 0
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        for line in lines:
            if line.endswith("\n"):
                payment = json.loads(line)
                self.usd += payment["usd"]
                self.tokens += payment["tokens"]

    def add(self, usd: float, tokens: int) -> None:
        """Write down a payment: USD (0 where there are no prices) and tokens read and written."""
        append_line(self._path, {"usd": usd, "tokens": tokens})
        self.usd += usd
        self.tokens += tokens
