"""How ratings are distributed, by aspect and by annotator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from notus_exp.annotation.leanings import leaning
from notus_exp.contracts.annotator_file import Leaning
from notus_exp.feedback_report.feedback_tables import FeedbackTables, RaterValues
from notus_exp.inference.estimates import mean_estimate

MOST_VALUES = 11
"""Of more different values those between two of `_BINS` ends stand together."""
_BINS = 10
_SCALES = ((1, 5), (1, 10))
"""Of whole numbers, the smallest that holds them: each has a column, though nothing may have it."""


class SpreadRow(NamedTuple):
    """The values of one labelling.

    Attributes:
        name: The labelling.
        known: How many completions have a value.
        missing: How many have none.
        mean: With an interval over prompts.
        sd: Their standard deviation.
        shares: Of the known ones, by column of the table.
    """

    name: str
    known: int
    missing: int
    mean: Leaning
    sd: float
    shares: list[float]


class SpreadTable(NamedTuple):
    """Labellings with the same columns of values."""

    columns: list[str]
    rows: list[SpreadRow]


def spread_tables(tables: FeedbackTables) -> list[SpreadTable]:
    """Return the distributions of all labellings, those on one scale together."""
    found: dict[tuple[str, ...], list[SpreadRow]] = {}
    for name, values in tables.labellings.items():
        columns, numbers = _counted(values[~np.isnan(values)])
        known = int(sum(numbers))
        row = SpreadRow(
            name,
            known,
            len(values) - known,
            leaning(mean_estimate(values, clusters=tables.groups.tolist())),
            float(np.nanstd(values, ddof=1)) if known > 1 else 0.0,
            [number / known for number in numbers],
        )
        found.setdefault(tuple(columns), []).append(row)
    return [SpreadTable([*columns], rows) for columns, rows in found.items()]


def _counted(values: RaterValues) -> tuple[list[str], list[int]]:
    """Return the columns of n values, n above 0, and how many are in each."""
    low, high = float(values.min()), float(values.max())
    if (values == np.round(values)).all():
        for least, most in _SCALES:
            if least <= low and high <= most:
                numbers = np.bincount(values.astype(np.int64) - least, minlength=most - least + 1)
                return [str(one) for one in range(least, most + 1)], numbers.tolist()
    different, numbers = np.unique(values, return_counts=True)
    if len(different) <= MOST_VALUES:
        return [f"{one:.4g}" for one in different], numbers.tolist()
    numbers, ends = np.histogram(values, bins=_BINS)
    return [f"to {end:.3g}" for end in ends[1:]], numbers.tolist()
