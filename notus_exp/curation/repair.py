"""Repair of overall scores: what is done about a score that the completion's own ratings contradict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Ambiguous, Repair
from notus_exp.curation.columns import NAMED, OVERALL, mean_rating
from notus_exp.errors import UserError, did_you_mean
from notus_exp.stages.settings import DoubtfulScores

SUSPECT = 10.0
"""The overall score under suspicion: UltraFeedback once wrote some scores of 1 as 10."""
ANEW = f"{NAMED}score anew"
"""Column of the scores that an annotator gave in the place of those in doubt; no expression can name it."""
SCORES_A_POINT = 9 / 4
"""Points of an overall score, from 1 to 10, for one of a rating, from 1 to 5."""

CONTRADICTED_BECOMES: dict[str, float | None] = {"openbmb": 1.0, "drop": None}
"""What a contradicted 10 is turned into, by repair; `none` leaves every score alone."""


class Repaired(NamedTuple):
    """A table whose `overall_score` is repaired, and what was done to its scores."""

    completions: pl.DataFrame
    counts: dict[str, int]


def repair_scores(completions: pl.DataFrame, aspects: Sequence[str], repair: Repair) -> Repaired:
    """Repair the overall scores of a table.

    A 10 is *contradicted* by a mean rating of at most `low_mean`, *supported* by one above `high_mean` and *ambiguous*
    between them or without any rating. `openbmb` turns a contradicted one into 1, `drop` removes it (null); an
    ambiguous one is removed or kept as `repair.ambiguous` says. With `repair.suspicious` any other score that lies so
    many points above what the mean rating says is *suspicious*, and treated as an ambiguous 10 is.

    With `repair.ambiguous=reannotate` whatever is contradicted, ambiguous or suspicious takes the score that it was
    given anew; without one a contradicted 10 is repaired as before, and the others are removed.

    Args:
        completions: Table with `overall_score` (Float64) and `rating_<aspect>` (Float64), one row a completion, and
            `ANEW` (Float64, null where nothing was asked or said) where an annotator was asked.
        aspects: The ratings that judge.
        repair: Which repair, and its thresholds in rating points.

    Returns:
        The table and the counts `scores_of_10 = repaired + removed + ambiguous + kept`; `ambiguous_removed` says how
        many of the ambiguous ones became null. With `repair.suspicious` also `suspicious` and `suspicious_removed`;
        with `reannotate` `reannotated`, of all, and `sent_back`, contradicted ones with a score anew, which then
        belong to the sum.

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
    asks = repair.ambiguous is Ambiguous.reannotate
    anew = pl.col(ANEW) if asks and ANEW in completions.columns else pl.lit(None, pl.Float64)
    told = completions.select(_verdict(aspects, repair).alias("verdict"), said=anew.is_not_null())
    verdicts, said = told["verdict"], told["said"]
    replacement = CONTRADICTED_BECOMES[repair.name]
    removes = repair.ambiguous is not Ambiguous.keep
    in_doubt_now = verdicts.is_in(["ambiguous", "suspicious"])
    score = (
        pl.when(verdicts.is_in(["contradicted", "ambiguous", "suspicious"]) & said)
        .then(anew)
        .when(verdicts == "contradicted")
        .then(pl.lit(replacement, pl.Float64))
        .when(in_doubt_now & removes)
        .then(pl.lit(None, pl.Float64))
        .otherwise(OVERALL)
        .alias(OVERALL)
    )

    def number(verdict: str, *, given: bool | None = None) -> int:
        found = verdicts == verdict
        return int((found if given is None else found & (said == given)).sum())

    contradicted = number("contradicted", given=False)
    counts = {
        "scores_of_10": sum(number(verdict) for verdict in ("contradicted", "ambiguous", "supported")),
        "repaired": contradicted if replacement is not None else 0,
        "removed": contradicted if replacement is None else 0,
        "ambiguous": number("ambiguous"),
        "ambiguous_removed": number("ambiguous", given=False) if removes else 0,
        "kept": number("supported"),
    }
    if repair.suspicious is not None:
        counts["suspicious"] = number("suspicious")
        counts["suspicious_removed"] = number("suspicious", given=False) if removes else 0
    if asks:
        counts["sent_back"] = number("contradicted", given=True)
        counts["reannotated"] = int((said & (in_doubt_now | (verdicts == "contradicted"))).sum())
    return Repaired(completions.with_columns(score), counts)


def in_doubt(completions: pl.DataFrame, doubtful: DoubtfulScores) -> pl.Series:
    """Say of each completion whether its overall score is in doubt: contradicted, ambiguous or suspicious.

    Args:
        completions: As of `repair_scores`.
        doubtful: Which are; see there.

    Returns:
        Boolean, shape (n,).
    """
    plain = completions.with_columns(pl.col(pl.Float64).fill_nan(None))
    if OVERALL not in plain.columns:
        return pl.repeat(False, plain.height, dtype=pl.Boolean, eager=True)
    mean = mean_rating(doubtful.aspects)
    ten = (pl.col(OVERALL) == SUSPECT) & ~(mean > doubtful.high_mean).fill_null(False)
    return plain.select((ten | _suspicious(doubtful.aspects, doubtful.suspicious)).fill_null(False)).to_series()


def _suspicious(aspects: Sequence[str], points: float | None) -> pl.Expr:
    """Say whether a score other than `SUSPECT` lies more than so many points above what the mean rating says."""
    if points is None:
        return pl.lit(False)
    implied = 1 + SCORES_A_POINT * (mean_rating(aspects) - 1)
    return ((pl.col(OVERALL) != SUSPECT) & (pl.col(OVERALL) - implied > points)).fill_null(False)


def _verdict(aspects: Sequence[str], repair: Repair) -> pl.Expr:
    mean = mean_rating(aspects)
    return (
        pl.when(_suspicious(aspects, repair.suspicious))
        .then(pl.lit("suspicious"))
        .when(pl.col(OVERALL).fill_null(0.0) != SUSPECT)
        .then(pl.lit("other"))
        .when(mean <= repair.low_mean)
        .then(pl.lit("contradicted"))
        .when(mean > repair.high_mean)
        .then(pl.lit("supported"))
        .otherwise(pl.lit("ambiguous"))
    )
