"""comparison.csv: the numbers of comparison.json as one tidy table, a row per (table, arm, reference, metric).

Of a search an arm is a trial, `trial_0`, `trial_1`, ...; of its importances it is a setting.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from notus_exp.contracts.comparison_file import (
    BASE_MODEL,
    ComparisonFile,
    ContrastRow,
    CurationRow,
    EffectRow,
    EstimateRow,
    curation_rows,
)
from notus_exp.contracts.study_file import SearchSummary

SCHEMA: dict[str, type[pl.DataType]] = {
    "table": pl.String,
    "arm": pl.String,
    "reference": pl.String,
    "metric": pl.String,
    "primary": pl.Boolean,
    **dict.fromkeys(("value", "low", "high", "standard_error", "seed_share", "p", "holm"), pl.Float64),
    **dict.fromkeys(("holm_low", "holm_high", "benjamini_hochberg"), pl.Float64),
    **dict.fromkeys(("prompts", "seeds", "left_out", "differing"), pl.Int64),
    **dict.fromkeys(("variance_prompt", "variance_seed", "variance_residual"), pl.Float64),
    "verdict": pl.String,
    **dict.fromkeys(("equivalence_margin", "equivalence_p"), pl.Float64),
    "equivalent": pl.Boolean,
}
"""Columns of comparison.csv; empty where a row has no such number."""

Cells = dict[str, object]
"""Column -> cell, and what comparison.json has beside."""


def tidy(comparison: ComparisonFile) -> pl.DataFrame:
    """Return the estimates of arms and base model (table "arm"), contrasts, a grid's effects; likewise a search.

    What the arms train on is the table "curation", with the baseline as reference where it is measured against that.

    Its trials have a row for each objective and constraint (table "trial", the state as verdict) and one for what they
    are minus the best ("difference"); each setting has one for what it matters ("importance").
    Of an effect, `arm` holds its levels and `reference` those that it is measured against, as factor=level.

    Args:
        comparison: As `analysis.analyse` returns it.
    """
    rows = [*_arms(comparison), *map(_contrast, comparison["contrasts"]), *map(_effect, comparison["effects"])]
    rows += map(_curation, curation_rows(comparison))
    if search := comparison.get("search"):
        rows += [*_trials(search, comparison["study"]["metric"]), *_importances(search)]
    whole = [{name: row.get(name) for name in SCHEMA} for row in rows]
    return pl.DataFrame(whole, schema=SCHEMA)


def _arms(comparison: ComparisonFile) -> Iterator[Cells]:
    primary = comparison["study"]["metric"]
    sides = {one["arm"]: one["metrics"] for one in comparison["arms"]} | {BASE_MODEL: comparison["base"]["metrics"]}
    for arm, metrics in sides.items():
        for metric, estimate in metrics.items():
            row = {"table": "arm", "arm": arm, "metric": metric, "primary": metric == primary}
            yield {**row, **estimate, **_variances(estimate)}


def _contrast(row: ContrastRow) -> Cells:
    test = row["equivalence"]
    tested = {f"equivalence_{name}": test[name] for name in ("margin", "p")} if test else {}
    equivalent = test["equivalent"] if test else None
    return {"table": "contrast", **row, **_variances(row), **tested, "equivalent": equivalent}


def _curation(row: CurationRow) -> Cells:
    return {"table": "curation", **row, "metric": row["measure"], "primary": False}


def _effect(row: EffectRow) -> Cells:
    arm, reference = (
        ", ".join(f"{factor}={level}" for factor, level in zip(row["factors"], side, strict=True))
        for side in (row["levels"], row["reference"])
    )
    return {"table": "effect", **row, "arm": arm, "reference": reference, "primary": False}


def _trials(search: SearchSummary, primary: str) -> Iterator[Cells]:
    best = f"trial_{search['best'][0]}" if search["best"] else None
    for trial in search["trials"]:
        own = {"arm": f"trial_{trial['number']}", "seeds": trial["seeds"]}
        for metric, value in {**trial["constraints"], **trial["values"]}.items():
            known = {"value": value, **trial.get("intervals", {}).get(metric, {})}
            yield {
                "table": "trial",
                **own,
                "metric": metric,
                "primary": metric == primary,
                **known,
                "verdict": trial["state"],
            }
        for metric, behind in trial.get("differences", {}).items():
            yield {"table": "difference", **own, "reference": best, "metric": metric, "primary": False, **behind}


def _importances(search: SearchSummary) -> Iterator[Cells]:
    for metric, rows in search["importances"].items():
        for setting, row in rows.items():
            yield {"table": "importance", "arm": setting, "metric": metric, "primary": False, **row}


def _variances(estimate: EstimateRow) -> Cells:
    return {f"variance_{name}": variance for name, variance in estimate["components"].items()}
