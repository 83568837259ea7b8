"""What the judges of a run have cost, over all attempts of the run: written down as it is spent."""

from __future__ import annotations

from pathlib import Path

from notus_exp.disk.json_lines import append_line, keep_lines, read_lines


class Ledger:
    """A file with a line a payment; a run's judgings, and its later attempts, share a budget through it.

    Args:
        path: The file; made with the first payment. A half-written last line is left out, and cut off by the
            next payment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.usd, self.tokens = 0.0, 0
        self._whole = False  # others read the file while its writer is at work: only a writer cuts it
        for payment in read_lines(path):
            self.usd += payment["usd"]
            self.tokens += payment["tokens"]

    def add(self, usd: float, tokens: int) -> None:
        """Write down a payment: USD (0 where there are no prices) and tokens read and written."""
        if not self._whole:
            keep_lines(self._path)
            self._whole = True
        append_line(self._path, {"usd": usd, "tokens": tokens})
        self.usd += usd
        self.tokens += tokens
