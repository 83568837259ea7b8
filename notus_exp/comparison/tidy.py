"""comparison.csv: the numbers of comparison.json as one tidy table, a row per (table, arm, reference, metric)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from notus_exp.comparison.words import BASE_MODEL

SCHEMA: dict[str, type[pl.DataType]] = {
    "table": pl.String,
    "arm": pl.String,
    "reference": pl.String,
    "metric": pl.String,
    "primary": pl.Boolean,
    **dict.fromkeys(("value", "low", "high", "standard_error", "degrees", "p", "holm"), pl.Float64),
    "benjamini_hochberg": pl.Float64,
    **dict.fromkeys(("prompts", "seeds", "left_out"), pl.Int64),
    **dict.fromkeys(("variance_prompt", "variance_seed", "variance_residual"), pl.Float64),
    "verdict": pl.String,
    **dict.fromkeys(("equivalence_margin", "equivalence_p"), pl.Float64),
    "equivalent": pl.Boolean,
}
"""Columns of comparison.csv; empty where a row has no such number."""


def tidy(comparison: Mapping[str, Any]) -> pl.DataFrame:
    """Return the estimates of arms and base model (table "arm"), the contrasts and a grid's effects.

    Of an effect, `arm` holds its levels and `reference` those that it is measured against, as factor=level.

    Args:
        comparison: As `analysis.analyse` returns it.
    """
    rows = [*_arms(comparison), *map(_contrast, comparison["contrasts"]), *map(_effect, comparison["effects"])]
    whole = [{name: row.get(name) for name in SCHEMA} for row in rows]
    return pl.DataFrame(whole, schema=SCHEMA)


def _arms(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    primary = comparison["study"]["metric"]
    for one in [*comparison["arms"], {"arm": BASE_MODEL, **comparison["base"]}]:
        for metric, estimate in one["metrics"].items():
            row = {"table": "arm", "arm": one["arm"], "metric": metric, "primary": metric == primary}
            yield {**row, **estimate, **_variances(estimate)}


def _contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    test = row["equivalence"] or {}
    tested = {"equivalence_margin": test.get("margin"), "equivalence_p": test.get("p")}
    return {"table": "contrast", **row, **_variances(row), **tested, "equivalent": test.get("equivalent")}


def _effect(row: Mapping[str, Any]) -> dict[str, Any]:
    arm, reference = (
        ", ".join(f"{factor}={level}" for factor, level in zip(row["factors"], row[side], strict=True))
        for side in ("levels", "reference")
    )
    return {"table": "effect", **row, "arm": arm, "reference": reference, "primary": False}


def _variances(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {f"variance_{name}": variance for name, variance in estimate["components"].items()}
