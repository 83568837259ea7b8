"""What a writer at an endpoint costs, as `judging.spending` reads it."""

from __future__ import annotations

from typing import NamedTuple


class WriterPrices(NamedTuple):
    """Prices of a writer, the longest answer, and what the run may spend; see `judging.spending.Priced`."""

    input_price: float | None
    output_price: float | None
    max_tokens: int
    budget: float | None
