"""From scored completions to a chosen and a rejected one per prompt, each decision a function of that prompt alone."""

from __future__ import annotations

import polars as pl

from notus_exp.errors import UserError, did_you_mean
from notus_exp.hashing import uniform
from notus_exp.schema import Rejected, TopTies

PAIR_RULES = ("fewer_than_two_scored", "tie_at_the_top", "nothing_worse", "tie_of_rejected")
"""Why a prompt gives no pair, in the order in which the rules are asked."""

PLACES = {
    "random": pl.lit(True),
    "lowest": pl.col("score") == pl.col("score").min().over("group"),
    "second_best": pl.col("score") == pl.col("score").max().over("group"),
}
"""Which of the completions that may be rejected take the place; `random` draws among all of them."""

CHOSEN_SEED = 0
"""A tie at the top is drawn with this fixed seed: the chosen response must not move with the run's seed."""


def choose(completions: pl.DataFrame, ties: TopTies, rejected: Rejected, seed: int) -> pl.DataFrame:
    """Choose the best completion of each prompt and the one to reject.

    Ties go to the smallest draw (`hash`: a function of prompt and text, so their order does not matter), to the lowest
    index (`first`) or leave the prompt out (`drop`). `rejected.ties` applies to the places `lowest` and `second_best`;
    a random rejection is a draw among equals, in which nothing ties.

    Args:
        completions: Scored completions: `group, at, completion, key, score` (Float64, no nulls).
        ties: What is done about several completions with the highest score.
        rejected: Which completion is rejected; `strictly_worse` false also admits those that score as high.
        seed: Moves the random rejection and the draw among tied rejected ones.

    Returns:
        One row a prompt with a scored completion, sorted by group: `group, chosen, rejected` (positions, UInt32),
        `chosen_score, rejected_score, chosen_key, rejected_key, ties_top, ties_rejected` (Boolean) and `rule`, the rule
        of `PAIR_RULES` that left the prompt out, or null.

    Raises:
        UserError: For an unknown way to reject.
    """
    if rejected.name not in PLACES:
        raise UserError(f"rejected.name is '{rejected.name}'", did_you_mean(rejected.name, PLACES))
    completions = completions.with_columns(best=pl.col("score").max().over("group"), scored=pl.len().over("group"))
    top = _pick(completions.filter(pl.col("score") == pl.col("best")), ties, CHOSEN_SEED, "chosen")
    others = completions.join(top.select("at"), on="at", how="anti")
    if rejected.strictly_worse:
        others = others.filter(pl.col("score") < pl.col("best"))
    others = others.filter(PLACES[rejected.name])
    random = rejected.name == "random"
    low = _pick(others, TopTies.hash if random else rejected.ties, seed, "rejected")
    pairs = top.select("group", "scored", **_named("chosen"), ties_top="tied").join(
        low.select("group", **_named("rejected"), ties_rejected=pl.col("tied") & (not random)),
        on="group",
        how="left",
    )
    rule = (
        pl.when(pl.col("scored") < 2)
        .then(pl.lit("fewer_than_two_scored"))
        .when(pl.col("ties_top") & (ties is TopTies.drop))
        .then(pl.lit("tie_at_the_top"))
        .when(pl.col("rejected").is_null())
        .then(pl.lit("nothing_worse"))
        .when(pl.col("ties_rejected") & (rejected.ties is TopTies.drop))
        .then(pl.lit("tie_of_rejected"))
    )
    return pairs.with_columns(rule.alias("rule"), pl.col("ties_rejected").fill_null(False)).drop("scored").sort("group")


def _named(role: str) -> dict[str, pl.Expr]:
    return {role: pl.col("at"), f"{role}_score": pl.col("score"), f"{role}_key": pl.col("key")}


def _pick(completions: pl.DataFrame, ties: TopTies, seed: int, salt: str) -> pl.DataFrame:
    """Return one completion per group, and in `tied` whether it had equals. Draws are made only where they decide."""
    completions = completions.with_columns(tied=pl.len().over("group") > 1)
    alone = completions.filter(~pl.col("tied"))
    tied = completions.filter("tied")
    order = ["group", "completion"]
    if ties is TopTies.hash:
        tied = tied.with_columns(draw=pl.Series(uniform(tied["key"], seed, salt), dtype=pl.Float64))
        order = ["group", "draw", "completion"]
    tied = tied.sort(order).unique("group", keep="first", maintain_order=True)
    return pl.concat([alone, tied.select(alone.columns)])
