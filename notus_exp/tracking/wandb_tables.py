"""W&B tables of rows that may lack values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(columns: list[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Return a W&B table; a cell may be None, and a column's types are its cells'."""
    import wandb

    return wandb.Table(columns=columns, data=[list(row) for row in rows], allow_mixed_types=True)
