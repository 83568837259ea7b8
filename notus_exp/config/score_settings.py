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


SCORE_COLUMN = "score"
"""Column of a file whose item names none."""
PROBE = "probe"
"""Name of a probe that is given none."""
REWARD = "_reward"
"""Ends the name of a probe's column."""


@dataclass
class ScoreItem:
    """One item of `scores`: a column of a file, or the implicit rewards of the policies of one or several runs.

    Of a file `name` is the column's name in expressions, `by` one of `KEYS`, null where the file has the columns of one
    of them alone. Of runs the column is `name` with `REWARD` behind it; a prompt is scored by those that were not
    trained on it, or on its fold. Where all were, that is an error, unless such prompts are to have no score
    (`exclude`), or scores all the same (`in_sample`).
    """

    name: Optional[str] = unbounded(default=None)
    path: Optional[str] = named_file(default=None)
    column: Optional[str] = unbounded(unless="runs", default=None)
    by: Optional[str] = unbounded(unless="runs", default=None)
    run: Optional[str] = unbounded(in_key=False, default=None)
    runs: list[str] = unbounded(in_key=False, default_factory=list)
    exclude: bool = unbounded(unless="path", default=False)
    in_sample: bool = unbounded(unless="path", default=False)


def runs_of_probe(score: ScoreItem) -> list[str]:
    """Return the ids of the runs of a probe; none of a file's."""
    return [score.run] if score.run is not None else score.runs


def column_of(score: ScoreItem) -> str:
    """Return the name of the column that an item gives."""
    return f"{score.name or PROBE}{REWARD}" if runs_of_probe(score) else score.name or ""
