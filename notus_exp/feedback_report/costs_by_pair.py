"""What making and annotating the feedback cost, for each pair that is of use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from notus_exp.feedback_report.feedback_tables import FeedbackTables, WriterPaid

TOGETHER = "together"


class CostRow(NamedTuple):
    """What one writer or annotator cost, or all together.

    Attributes:
        name: Its own, or `TOGETHER`.
        does: `answers` or `rates`; "" of all together.
        asked: Answers or verdicts asked for.
        failed: Of them, those that did not come.
        tokens: Read and written, of cached replies too; None where nobody tells.
        usd: At the config's prices; None without prices.
        per_pair: USD for each pair that was kept; None where either is not known.
    """

    name: str
    does: str
    asked: int
    failed: int
    tokens: int | None
    usd: float | None
    per_pair: float | None


def cost_rows(tables: FeedbackTables, paid: Sequence[WriterPaid], pairs: int | None) -> list[CostRow]:
    """Return a row for each and, of several, one for all: a sum of which a part is not known is not known.

    Args:
        tables: The feedback.
        paid: What its writers cost, where they were asked here.
        pairs: How many pairs were kept; None where none were made yet.
    """
    told = [one.told for one in tables.annotations]
    rows = [_row(one.name, "answers", one.asked, one.failed, one.tokens, one.usd, pairs) for one in paid]
    rows += [_row(a["name"], "rates", a["verdicts"], a["failed"], a["tokens"], a["usd"], pairs) for a in told]
    if len(rows) > 1:
        tokens = [row.tokens for row in rows if row.tokens is not None]
        usd = [row.usd for row in rows if row.usd is not None]
        rows.append(
            _row(
                TOGETHER,
                "",
                sum(row.asked for row in rows),
                sum(row.failed for row in rows),
                sum(tokens) if len(tokens) == len(rows) else None,
                sum(usd) if len(usd) == len(rows) else None,
                pairs,
            )
        )
    return rows


def _row(
    name: str, does: str, asked: int, failed: int, tokens: int | None, usd: float | None, pairs: int | None
) -> CostRow:
    return CostRow(name, does, asked, failed, tokens, usd, usd / pairs if usd is not None and pairs else None)
