"""How far those who rated agree: aspect by aspect where there are several, and every labelling with every other."""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.annotation.leanings import leaning
from notus_exp.contracts.annotator_file import Leaning
from notus_exp.curation.annotator_report import GOLD
from notus_exp.curation.comparisons import ranks_in_common
from notus_exp.curation.scores import AVERAGE, CRITIQUE
from notus_exp.feedback_report.feedback_tables import FeedbackTables, RaterValues
from notus_exp.inference.alpha import alpha_estimate


class AspectAgreement(NamedTuple):
    """The agreement on one aspect.

    Attributes:
        aspect: Its name; `critique` for overall scores.
        raters: Who rated it: `feedback` for the ratings that the feedback came with, and annotators by name.
        alpha: Krippendorff's, of ranks within prompts; None where one alone rated it.
    """

    aspect: str
    raters: list[str]
    alpha: Leaning | None


class AgreementTable(NamedTuple):
    """Krippendorff's alpha of every two labellings: cells[i][j] for j below i, `n` being prompts."""

    names: list[str]
    cells: list[list[Leaning]]


OF_FEEDBACK = "feedback"


def by_aspect(tables: FeedbackTables) -> list[AspectAgreement]:
    """Return the agreement on each aspect that anybody rated."""
    raters: dict[str, dict[str, RaterValues]] = {
        name: {OF_FEEDBACK: tables.labellings[name]}
        for name in (*tables.aspects, CRITIQUE)
        if name in tables.labellings
    }
    for one in tables.annotations:
        if one.source.about and not one.source.made_ratings:
            raters.setdefault(one.source.about, {})[one.told["name"]] = one.values
    return [AspectAgreement(aspect, [*by], _alpha(tables, [*by.values()])) for aspect, by in raters.items()]


def agreements(tables: FeedbackTables) -> AgreementTable:
    """Return the agreement of every two labellings."""
    first = [name for name in tables.labellings if name not in (GOLD, AVERAGE, CRITIQUE)]
    names = [*(name for name in (GOLD, AVERAGE, CRITIQUE) if name in tables.labellings), *first]
    cells: list[list[Leaning]] = []
    for place, name in enumerate(names):
        beside = (tables.labellings[other] for other in names[:place])
        found = [_alpha(tables, [tables.labellings[name], other]) for other in beside]
        cells.append([one for one in found if one is not None])
    return AgreementTable(names, cells)


def _alpha(tables: FeedbackTables, values: list[RaterValues]) -> Leaning | None:
    if len(values) < 2:
        return None
    return leaning(alpha_estimate(*ranks_in_common(tables.compared, values)))
