"""`score logprobs`: derives stored preferences again from a judge's raw log-probs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.win_rates import measure
from notus_exp.evaluation.kit.published_files import read_objects, require
from notus_exp.judging.parsing import parse_logprobs
from notus_exp.reporting.tables import Report, Table, number

TOLERANCE = 1e-9
"""Stored preferences are rounded to ten digits after the point."""


def report(file: Path) -> Report:
    """Derive each stored preference again.

    Args:
        file: JSON lines with `switched` (the model was shown first), `top_logprobs` (a list of `token, logprob`, or
            null) and `preference`, and `price_per_example` in USD where it is known.

    Raises:
        UserError: The file cannot be used.
    """
    rows = read_objects(file, ["switched", "top_logprobs", "preference"], "log-probs")
    for at, row in enumerate(rows, start=1):
        _check(row, f"log-probs: '{file}' record {at}")
    raw = [(at, row) for at, row in enumerate(rows, start=1) if row["top_logprobs"] is not None]
    derived = [_preference(_tokens(row, f"log-probs: '{file}' record {at}"), row["switched"]) for at, row in raw]
    parsed = [(at, row, value) for (at, row), value in zip(raw, derived, strict=True) if value is not None]
    differ = [at for at, row, value in parsed if not _same(row["preference"], value)]
    rates = {name: _win_rate([v for _, row, v in parsed if row["switched"] is first]) for name, first in _ORDERS}
    data = {
        "verdicts": len(rows),
        "parsed": len(parsed),
        "reproduced": len(parsed) - len(differ),
        "missing_raw": len(rows) - len(raw),
        "unparsed": len(raw) - len(parsed),
        **rates,
        "price_usd": math.fsum(row["price_per_example"] or 0.0 for row in rows if not _is_nan(row)),
    }
    shown = [(name, number(value, 4) if isinstance(value, float) else str(value)) for name, value in data.items()]
    found = Report(data, [Table("Preferences from log-probs", ["", "value"], shown)])
    found.sentences.append(f"{data['reproduced']} of {len(parsed)} stored preferences follow from the raw log-probs")
    if differ:
        found.refused.append(f"{len(differ)} stored preferences differ from the log-probs, first record {differ[0]}")
    return found


def _preference(tokens: list[tuple[str, float]], switched: bool) -> float | None:
    """Return the preference, 2 where the model wins; the parser goes by place, and `switched` shows the model first."""
    value = parse_logprobs(tokens).value
    return 3 - value if switched and value is not None else value


_ORDERS = (("win_rate_candidate_shown_first", True), ("win_rate_candidate_shown_second", False))


def _check(row: dict[str, Any], place: str) -> None:
    row.setdefault("price_per_example", None)
    require(row, "preference", "number", place, null=True)
    require(row, "price_per_example", "number", place, null=True)
    if not isinstance(row["switched"], bool):
        raise UserError(f"{place}: switched is {ascii(row['switched'])[:60]}", "it must be true or false")


def _is_nan(row: dict[str, Any]) -> bool:
    price = row["price_per_example"]
    return isinstance(price, float) and math.isnan(price)


def _tokens(row: dict[str, Any], place: str) -> list[tuple[str, float]]:
    try:
        for top in row["top_logprobs"]:
            require(top, "logprob", "number", place)
        return [(str(top["token"]), float(top["logprob"])) for top in row["top_logprobs"]]
    except (TypeError, KeyError) as problem:
        raise UserError(
            f"{place}: top_logprobs is {str(row['top_logprobs'])[:80]}",
            "it must be a list of {token, logprob}, or null",
        ) from problem


def _same(stored: float | None, derived: float) -> bool:
    return stored is not None and abs(stored - derived) <= TOLERANCE


def _win_rate(preferences: list[float]) -> float:
    return measure(pl.DataFrame({"preference": preferences}, schema={"preference": pl.Float64})).win_rate
