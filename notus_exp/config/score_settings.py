"""The settings of `scores`: columns of completions that come from files, or from policies of other runs."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from notus_exp.config.ranges import named_file, unbounded

KEYS = {
    "row": ("row", "completion"),
    "prompt_id": ("prompt_id", "completion"),
    "digest": ("digest",),
    "texts": ("prompt", "response"),
}
"""Way in which a file of scores says whose they are -> the columns by which it does."""


@dataclass
class ScoreItem:
    """One item of `scores`: a column of a file, by its name in expressions.

    `by` is one of `KEYS`; null where the file has the columns of one of them alone.
    """

    name: str
    path: Optional[str] = named_file(default=None)
    column: str = unbounded(default="score")
    by: Optional[str] = unbounded(default=None)
