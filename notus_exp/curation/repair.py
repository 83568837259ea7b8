"""Repair of overall scores: what is done about a 10 that the completion's own ratings contradict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Ambiguous, Repair
from notus_exp.curation.columns import OVERALL, mean_rating
from notus_exp.errors import UserError, did_you_mean

SUSPECT = 10.0
"""The overall score under suspicion: UltraFeedback once wrote some scores of 1 as 10."""

CONTRADICTED_BECOMES: dict[str, float | None] = {"openbmb": 1.0, "drop": None}
"""What a contradicted 10 is turned into, by repair; `none` leaves every score alone."""


class Repaired(NamedTuple):
    """A table whose `overall_score` is repaired, and what was done to its scores of 10."""

    completions: pl.DataFrame
    counts: dict[str, int]


def repair_scores(completions: pl.DataFrame, aspects: Sequence[str], repair: Repair) -> Repaired:
    """Repair the overall scores of a table.

    A 10 is *contradicted* by a mean rating of at most `low_mean`, *supported* by one above `high_mean` and *ambiguous*
    between them or without any rating. `openbmb` turns a contradicted one into 1, `drop` removes it (null); an
    ambiguous one is removed or kept as `repair.ambiguous` says.

    Args:
        completions: Table with `overall_score` (Float64) and `rating_<aspect>` (Float64), one row a completion.
        aspects: The ratings that judge.
        repair: Which repair, and its thresholds in rating points.

    Returns:
        The table and the counts `scores_of_10 = repaired + removed + ambiguous + kept`; `ambiguous_removed` says how
        many of the ambiguous ones became null.

    Raises:
        UserError: For an unknown repair.
    """
    known = ["none", *CONTRADICTED_BECOMES]
    if repair.name not in known:
        raise UserError(f"repair.name is '{repair.name}'", did_you_mean(repair.name, known))
    if repair.name == "none":
        tens = int((completions[OVERALL] == SUSPECT).sum())
        counts = {"repaired": 0, "removed": 0, "ambiguous": 0, "ambiguous_removed": 0, "kept": tens}
        return Repaired(completions, {"scores_of_10": tens, **counts})
    verdicts = completions.select(_verdict(aspects, repair).alias("verdict"))["verdict"]
    found = {name: int((verdicts == name).sum()) for name in ("contradicted", "ambiguous", "supported")}
    replacement = CONTRADICTED_BECOMES[repair.name]
    removes_ambiguous = repair.ambiguous is Ambiguous.drop
    score = (
        pl.when(verdicts == "contradicted")
        .then(pl.lit(replacement, pl.Float64))
        .when((verdicts == "ambiguous") & removes_ambiguous)
        .then(pl.lit(None, pl.Float64))
        .otherwise(OVERALL)
        .alias(OVERALL)
    )
    counts = {
        "scores_of_10": sum(found.values()),
        "repaired": found["contradicted"] if replacement is not None else 0,
        "removed": found["contradicted"] if replacement is None else 0,
        "ambiguous": found["ambiguous"],
        "ambiguous_removed": found["ambiguous"] if removes_ambiguous else 0,
        "kept": found["supported"],
    }
    return Repaired(completions.with_columns(score), counts)


def _verdict(aspects: Sequence[str], repair: Repair) -> pl.Expr:
    mean = mean_rating(aspects)
    return (
        pl.when(pl.col(OVERALL).fill_null(0.0) != SUSPECT)
        .then(pl.lit("other"))
        .when(mean <= repair.low_mean)
        .then(pl.lit("contradicted"))
        .when(mean > repair.high_mean)
        .then(pl.lit("supported"))
        .otherwise(pl.lit("ambiguous"))
    )
