"""Where those who rated lean: to the answer that stands first, and to the longer one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from notus_exp.annotation.leanings import leaning, longer_preferred
from notus_exp.contracts.annotator_file import Leaning
from notus_exp.curation.annotator_report import GOLD, annotator_found
from notus_exp.curation.annotators_table import annotator_row
from notus_exp.curation.comparisons import TIE, outcomes
from notus_exp.feedback_report.feedback_tables import FeedbackTables
from notus_exp.inference.estimates import mean_estimate


class LeaningRow(NamedTuple):
    """Where a labelling leans.

    Attributes:
        name: The labelling.
        decided: Comparisons of two completions of a prompt that have different values.
        first: Share of them in which the completion that stands first in the record is rated higher.
        longer: Share, of those of different length, in which the longer one is.
    """

    name: str
    decided: int
    first: Leaning
    longer: Leaning


def leaning_rows(tables: FeedbackTables) -> list[LeaningRow]:
    """Return where each labelling leans; the truth, where it is known, is among them to compare with."""
    chars, pairs = tables.completions["chars"].to_numpy(), tables.compared
    rows = []
    for name, values in tables.labellings.items():
        won = outcomes(pairs, values)
        decided = (won != TIE) & ~np.isnan(won)
        first = mean_estimate(1 - won[decided], clusters=pairs.group[decided].tolist(), span=(0.0, 1.0))
        rows.append(LeaningRow(name, int(decided.sum()), leaning(first), longer_preferred(pairs, won, chars)))
    return rows


def annotator_rows(tables: FeedbackTables, pairs: int | None) -> list[dict[str, str]]:
    """Return the cells of a row for each annotator, as curation.html has them.

    Args:
        tables: The feedback.
        pairs: How many pairs were kept; None where none were made yet.
    """
    gold = tables.labellings.get(GOLD)
    return [
        annotator_row(annotator_found(one.told, one.values, gold, tables.compared, pairs or 0))
        for one in tables.annotations
    ]
