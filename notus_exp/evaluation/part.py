"""What measuring one evaluation gives."""

from __future__ import annotations

from typing import Any, NamedTuple

from notus_exp.inference.estimates import Estimate


class Part(NamedTuple):
    """One evaluation's share of the results.

    Attributes:
        metrics: Name -> estimate, for the policy, after `base/` for the base model, after `difference/` for both.
        facts: Counts of what was measured and left out.
        samples: Prompts with both answers, for reading; empty where nothing was generated.
        notes: Sentences that a reader of the metrics must know.
    """

    metrics: dict[str, Estimate]
    facts: dict[str, Any]
    samples: list[dict[str, str]] = []  # noqa: RUF012 - never changed
    notes: list[str] = []  # noqa: RUF012
