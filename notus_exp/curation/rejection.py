"""From scored completions to a chosen and a rejected one per prompt, each decision a function of that prompt alone."""

from __future__ import annotations

import polars as pl
from xxhash import xxh3_64_hexdigest

from notus_exp.config.curation_settings import Rejected, TopTies
from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError, did_you_mean

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

ROWS_AT_ONCE = 2048
"""Texts hashed at a time: Python copies of all of them would double the memory, and small batches reuse theirs."""


def choose(
    completions: pl.DataFrame,
    texts: pl.DataFrame,
    ties: TopTies,
    rejected: Rejected,
    seed: int,
    *,
    another_text: bool = False,
) -> pl.DataFrame:
    """Choose the best completion of each prompt and the one to reject.

    Ties go to the smallest draw (`hash`: a function of prompt and text, so their order does not matter), to the lowest
    index (`first`) or leave the prompt out (`drop`). `rejected.ties` applies to the places `lowest` and `second_best`;
    a random rejection is a draw among equals, in which nothing ties. With `another_text` a rejected one that has the
    chosen one's text gives way to the one that would be rejected if there were no such texts; where every one has that
    text it stays.

    Args:
        completions: Scored completions: `group, at, completion, same, score` (Float64, no nulls).
        texts: `prompt_id, response` at the positions `at`.
        ties: What is done about several completions with the highest score.
        rejected: Which completion is rejected; `strictly_worse` false also admits those that score as high.
        seed: Moves the random rejection and the draw among tied rejected ones.
        another_text: Whether the rejected response should have another text than the chosen one.

    Returns:
        One row a prompt with a scored completion, sorted by group: `group, chosen, rejected` (positions, UInt32),
        `chosen_score, rejected_score, chosen_same, rejected_same, ties_top, ties_rejected, replaced` (Boolean) and
        `rule`, the rule of `PAIR_RULES` that left the prompt out, or null.

    Raises:
        UserError: For an unknown way to reject.
    """
    if rejected.name not in PLACES:
        raise UserError(f"rejected.name is '{rejected.name}'", did_you_mean(rejected.name, PLACES))
    completions = completions.with_columns(best=pl.col("score").max().over("group"), scored=pl.len().over("group"))
    top = _pick(completions.filter(pl.col("score") == pl.col("best")), texts, ties, CHOSEN_SEED, "chosen")
    others = completions.join(top.select("at"), on="at", how="anti")
    if rejected.strictly_worse:
        others = others.filter(pl.col("score") < pl.col("best"))
    low = _rejected(others, texts, rejected, seed).with_columns(replaced=pl.lit(False))
    if another_text:
        same = low.select("group", "same").join(top.select("group", "same"), on=["group", "same"])
        left = others.join(same.select("group"), on="group", how="semi").join(same, on=["group", "same"], how="anti")
        instead = _rejected(left, texts, rejected, seed).with_columns(replaced=pl.lit(True))
        low = pl.concat([low.join(instead, on="group", how="anti"), instead])
    pairs = top.select("group", "scored", **_named("chosen"), ties_top="tied").join(
        low.select("group", "replaced", **_named("rejected"), ties_rejected="tied"),
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
    decided = pl.col("ties_rejected", "replaced").fill_null(False)
    return pairs.with_columns(rule.alias("rule"), decided).drop("scored").sort("group")


def _rejected(others: pl.DataFrame, texts: pl.DataFrame, rejected: Rejected, seed: int) -> pl.DataFrame:
    """Return the completion to reject of each group that has one, of those that may be rejected."""
    others = others.filter(PLACES[rejected.name])
    if rejected.name == "random":
        return _at_random(others, texts, seed)
    return _pick(others, texts, rejected.ties, seed, "rejected")


def _named(role: str) -> dict[str, pl.Expr]:
    return {role: pl.col("at"), f"{role}_score": pl.col("score"), f"{role}_same": pl.col("same")}


def _pick(completions: pl.DataFrame, texts: pl.DataFrame, ties: TopTies, seed: int, salt: str) -> pl.DataFrame:
    """Return one completion per group, and in `tied` whether it had equals. Draws are made only where they decide."""
    completions = completions.with_columns(tied=pl.len().over("group") > 1)
    alone = completions.filter(~pl.col("tied"))
    tied = completions.filter("tied")
    order = ["group", "completion"]
    if ties is TopTies.hash:
        tied = tied.with_columns(draw=_draws(texts, tied["at"], seed, salt))
        order = ["group", "draw", "completion"]
    tied = tied.sort(order).unique("group", keep="first", maintain_order=True)
    return pl.concat([alone, tied.select(alone.columns)])


def _at_random(completions: pl.DataFrame, texts: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return one completion per group, uniformly: number floor(u n) of its n completions for the prompt's draw u.

    They are numbered by score, and by a draw on the text where scores are equal, never by their index.
    """
    equal = completions.select(pl.struct("group", "score").is_duplicated()).to_series()
    tied = completions.filter(equal)
    tied = tied.with_columns(draw=_draws(texts, tied["at"], CHOSEN_SEED, "order"))
    single = completions.filter(~equal).with_columns(draw=pl.lit(0.0))
    ordered = pl.concat([single, tied]).sort("group", "score", "draw", "completion")
    groups = ordered.group_by("group", maintain_order=True).agg(pl.col("at").first(), pl.len().alias("number"))
    draws = uniform(texts["prompt_id"].gather(groups["at"]).to_list(), seed, "rejected")
    ends = groups["number"].cum_sum()
    places = ends - groups["number"] + (groups["number"] * pl.Series(draws, dtype=pl.Float64)).floor().cast(ends.dtype)
    return ordered.select(pl.all().gather(places), tied=pl.lit(False)).drop("draw")


def _draws(texts: pl.DataFrame, at: pl.Series, seed: int, salt: str) -> pl.Series:
    """Return a number in [0, 1) per completion, a function of its prompt id, its text, the seed and the salt.

    The text is hashed with the prompt's id as the hash's seed. XXH3 has a fixed specification; Polars' own hash may
    change with its version.
    """
    keys: list[str] = []
    for part in at.to_frame().iter_slices(ROWS_AT_ONCE):
        rows = texts.select(pl.all().gather(part.to_series()))
        keys += [
            xxh3_64_hexdigest(text.encode(), seed=int(prompt, 16))
            for prompt, text in zip(rows["prompt_id"].to_list(), rows["response"].to_list(), strict=True)
        ]
    return pl.Series(uniform(keys, seed, salt), dtype=pl.Float64)
