"""Who wrote the completions, and by which principle: how many, how long, and how they are rated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from notus_exp.annotation.leanings import leaning
from notus_exp.contracts.annotator_file import Leaning
from notus_exp.curation.scores import AVERAGE, CRITIQUE
from notus_exp.feedback_report.feedback_tables import FeedbackTables
from notus_exp.inference.estimates import mean_estimate
from notus_exp.reporting.texts import label

MOST_WRITERS = 20
"""Of more models or principles the rarest are taken together."""
MOST_PRINCIPLES = 8
MOST_LETTERS = 60
"""Of a name."""


class WriterRow(NamedTuple):
    """The completions of one model, or by one principle.

    Attributes:
        name: Its own, or `(unknown)`.
        completions: How many.
        chars: Median of the characters of a response.
        average: Mean over completions of the mean of their ratings, with an interval over prompts.
        critique: Mean of the overall scores, likewise.
    """

    name: str
    completions: int
    chars: float
    average: Leaning
    critique: Leaning


class CrossTable(NamedTuple):
    """Completions per model and principle: the names of the columns, and of each model its numbers."""

    principles: list[str]
    rows: list[tuple[str, list[int]]]


def writer_rows(tables: FeedbackTables, column: str) -> list[WriterRow]:
    """Return a row for each value of `model` or `principle`, the most frequent first; of many the rest together."""
    names = _gathered(tables.completions[column], MOST_WRITERS)
    values = names.to_numpy()
    chars = tables.completions["chars"].to_numpy()
    rows = []
    for name in _in_order(names):
        own = values == name
        estimates = {}
        for labelling in (AVERAGE, CRITIQUE):
            found = tables.labellings.get(labelling)
            some = np.array([], dtype=np.float64) if found is None else found[own]
            clusters = tables.groups[own].tolist() if len(some) else []
            estimates[labelling] = leaning(mean_estimate(some, clusters=clusters))
        rows.append(WriterRow(name, int(own.sum()), float(np.median(chars[own])), *estimates.values()))
    return rows


def cross_table(tables: FeedbackTables) -> CrossTable | None:
    """Return the completions per model and principle; None where there are not two of each."""
    models = _gathered(tables.completions["model"], MOST_WRITERS)
    principles = _gathered(tables.completions["principle"], MOST_PRINCIPLES)
    if models.n_unique() < 2 or principles.n_unique() < 2:
        return None
    counted = pl.DataFrame({"model": models, "principle": principles}).group_by("model", "principle").len()
    numbers = {(model, principle): number for model, principle, number in counted.iter_rows()}
    columns = _in_order(principles)
    return CrossTable(
        columns,
        [(model, [numbers.get((model, principle), 0) for principle in columns]) for model in _in_order(models)],
    )


def _gathered(names: pl.Series, most: int) -> pl.Series:
    """Return names as they are shown, the rarest of many as one."""
    counts = names.value_counts().sort("count", names.name, descending=[True, False])
    ranked = counts[names.name].to_list()
    shown = {name: label(name, MOST_LETTERS) if name else "(unknown)" for name in ranked}
    if len(ranked) > most:
        shown |= dict.fromkeys(ranked[most - 1 :], f"({len(ranked) - most + 1} others)")
    return names.replace_strict(shown, return_dtype=pl.String)


def _in_order(names: pl.Series) -> list[str]:
    """Return the names, the most frequent first and what was gathered at the end."""
    counts = names.value_counts().sort("count", names.name, descending=[True, False])
    found = counts[names.name].to_list()
    return sorted(found, key=lambda name: name.startswith("(") and name.endswith(" others)"))
