"""From scored completions to a chosen and a rejected one per prompt, each decision a function of that prompt alone."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
from xxhash import xxh3_64_hexdigest

from notus_exp.config.curation_settings import Rejected, TopTies
from notus_exp.config.places import PlaceRule, place_of
from notus_exp.disk.hashing import uniform

PAIR_RULES = ("fewer_than_two_scored", "tie_at_the_top", "nothing_worse", "tie_of_rejected")
"""Why a prompt gives no pair, in the order in which the rules are asked."""

HIGHEST = PlaceRule("highest")
"""The place of the chosen response unless another is asked for."""

CHOSEN_SEED = 0
"""A tie at the top is drawn with this fixed seed: the chosen response must not move with the run's seed."""

AS_NEAR = 1e-10
"""Completions whose distances to a place differ by less than this share of the prompt's largest score are as near: less
than a score's digits (`rounding.DIGITS`), since a distance has the noise of both, and a small one has it all."""

ROWS_AT_ONCE = 2048
"""Texts hashed at a time: Python copies of all of them would double the memory, and small batches reuse theirs."""


class Rules(NamedTuple):
    """By which rules the two sides of a pair are taken.

    Attributes:
        ties: What is done about several completions at the chosen one's place.
        rejected: What may be rejected, and what is done about ties there.
        seed: Moves random places and the draw among tied rejected ones.
        place: The chosen one's place among the scores of its prompt.
        another_text: Whether a rejected response should have another text than the chosen one.
        most: Pairs a prompt at most; None for one with each completion that may be rejected.
    """

    ties: TopTies
    rejected: Rejected
    seed: int
    place: PlaceRule = HIGHEST
    another_text: bool = False
    most: int | None = 1


def choose(completions: pl.DataFrame, texts: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Choose a completion of each prompt, the best unless another place is asked for, and the one or those to reject.

    Ties go to the smallest draw (`hash`: a function of prompt and text, so their order does not matter), to the lowest
    index (`first`) or leave the prompt out (`drop`). A random place is a draw among equals, in which nothing ties. With
    `another_text` a rejected one that has the chosen one's text gives way to the one that would be rejected if there
    were no such texts; where every one has that text it stays.

    Args:
        completions: Scored completions: `group, at, completion, same, score` (Float64, no nulls) and, where another
            score orders those that may be rejected, `order` (Float64; without one a completion is not rejected).
        texts: `prompt_id, response` at the positions `at`.
        rules: See `Rules`.

    Returns:
        A row a pair, sorted by group, and one row of each prompt without any: `group, chosen, rejected` (positions,
        UInt32), `chosen_score, rejected_score, chosen_same, rejected_same, ties_top, ties_rejected, replaced`
        (Boolean), `rank` (of the pair in its prompt, from 0) and `rule`, the rule of `PAIR_RULES` that left the prompt
        out, or null.

    Raises:
        UserError: For an unknown way to reject.
    """
    rejected, place = rules.rejected, place_of(rules.rejected.place or rules.rejected.name, "rejected.name")
    completions = completions.with_columns(best=pl.col("score").max().over("group"), scored=pl.len().over("group"))
    if "order" not in completions.columns:
        completions = completions.with_columns(order="score")
    top = _top(completions, texts, rules)
    others = completions.join(top.select("at"), on="at", how="anti")
    if rules.place != HIGHEST:
        others = others.drop("best").join(top.select("group", best="score"), on="group", how="left")
    if rejected.strictly_worse:
        others = others.filter(pl.col("score") < pl.col("best"))
    spread = _spread(completions, place, "order")
    if spread is not None:
        others = others.join(spread, on="group", how="left")
    others = others.filter(pl.col("order").is_not_null())
    if rules.most == 1:
        low = _one(others, top, texts, rules, place)
    else:
        low = _several(others, top, texts, rules, place)
    pairs = top.select("group", "scored", **_named("chosen"), ties_top="tied").join(
        low.select("group", "replaced", "rank", **_named("rejected"), ties_rejected="tied"),
        on="group",
        how="left",
    )
    if rules.place.kind == "second_best":  # a prompt whose scores are all equal has none
        pairs = (
            completions.group_by("group")
            .agg(pl.len().alias("scored"))
            .join(pairs.drop("scored"), on="group", how="left")
        )
    rule = (
        pl.when(pl.col("scored") < 2)
        .then(pl.lit("fewer_than_two_scored"))
        .when(pl.col("ties_top") & (rules.ties is TopTies.drop))
        .then(pl.lit("tie_at_the_top"))
        .when(pl.col("rejected").is_null())
        .then(pl.lit("nothing_worse"))
        .when(pl.col("ties_rejected") & (rejected.ties is TopTies.drop))
        .then(pl.lit("tie_of_rejected"))
    )
    decided = [pl.col("ties_top", "ties_rejected", "replaced").fill_null(False), pl.col("rank").fill_null(0)]
    return pairs.with_columns(rule.alias("rule"), *decided).drop("scored").sort("group", "rank")


def _top(completions: pl.DataFrame, texts: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return the completion to choose of each group."""
    if rules.place.kind == "random":
        return _at_random(completions, texts, rules.seed, "chosen")
    if rules.place == HIGHEST:
        return _pick(completions.filter(pl.col("score") == pl.col("best")), texts, rules.ties, CHOSEN_SEED, "chosen")
    if rules.place.kind == "second_best":
        below = completions.filter(pl.col("score") < pl.col("best"))
        nearest = below.filter(pl.col("score") == pl.col("score").max().over("group"))
        return _pick(nearest, texts, rules.ties, CHOSEN_SEED, "chosen")
    spread = _spread(completions, rules.place, "score")
    known = completions if spread is None else completions.join(spread, on="group", how="left")
    known = _placed(known, rules.place, "score")
    nearest = known.filter(pl.col("far") == pl.col("far").min().over("group")).select(completions.columns)
    return _pick(nearest, texts, rules.ties, CHOSEN_SEED, "chosen")


def _spread(completions: pl.DataFrame, place: PlaceRule, by: str) -> pl.DataFrame | None:
    """Return for each group a place among its numbers as `target`, and the `largest`; None where it is none."""
    values = pl.col(by).sort()  # so that a sum does not depend on the order of the rows
    deviation = pl.when(values.count() > 1).then(values.std()).otherwise(0.0)
    targets = {
        "quantile": values.quantile(place.number, "linear"),
        "mean_minus": values.mean() - place.number * deviation,
        "mean_plus": values.mean() + place.number * deviation,
    }
    if place.kind not in targets:
        return None
    return completions.group_by("group").agg(target=targets[place.kind], largest=values.abs().max())


def _placed(completions: pl.DataFrame, place: PlaceRule, by: str) -> pl.DataFrame:
    """Add `far`, how far each completion is from a place: the least takes it, and float noise breaks no tie.

    Of places among the numbers it counts the steps from the nearest on: a step is wider than `AS_NEAR`.
    """
    value = pl.col(by)
    plain = {"highest": -value, "second_best": -value, "lowest": value, "random": pl.lit(0.0)}
    if place.kind in plain:
        return completions.with_columns(far=plain[place.kind])
    distant = completions.with_columns(_distance=(value - pl.col("target")).abs()).sort("group", "_distance")
    step = pl.col("_distance").diff() > AS_NEAR * pl.col("largest")
    return distant.with_columns(far=step.fill_null(False).cum_sum().over("group").cast(pl.Float64)).drop("_distance")


def _one(others: pl.DataFrame, top: pl.DataFrame, texts: pl.DataFrame, rules: Rules, place: PlaceRule) -> pl.DataFrame:
    """Return the completion to reject of each group that has one."""
    low = _rejected(others, texts, rules, place).with_columns(replaced=pl.lit(False))
    if rules.another_text:
        same = low.select("group", "same").join(top.select("group", "same"), on=["group", "same"])
        left = others.join(same.select("group"), on="group", how="semi").join(same, on=["group", "same"], how="anti")
        instead = _rejected(left, texts, rules, place).with_columns(replaced=pl.lit(True))
        low = pl.concat([low.join(instead, on="group", how="anti"), instead])
    return low.with_columns(rank=pl.lit(0, pl.UInt32))


def _several(
    others: pl.DataFrame, top: pl.DataFrame, texts: pl.DataFrame, rules: Rules, place: PlaceRule
) -> pl.DataFrame:
    """Return the completions to reject of each group, those nearest to the place first, `rules.most` at most.

    At random the first is the one that would be the only one: pairs of fewer a prompt are among those of more.
    """
    drawn = place.kind == "random" and rules.most is not None
    one = _one(others, top, texts, rules, place)["at"] if drawn else None
    if rules.another_text:
        texts_of_top = top.select("group", "same")
        different = others.join(texts_of_top, on=["group", "same"], how="anti")
        alone = others.join(different.select("group"), on="group", how="anti")
        others = pl.concat([different, alone])
    others = _placed(others, place, "order")
    if one is not None:
        others = others.with_columns(far=(~pl.col("at").is_in(one.implode())).cast(pl.Float64))
    if rules.rejected.ties is TopTies.hash:
        others = others.with_columns(draw=_draws(texts, others["at"], rules.seed, "rejected"))
    else:
        others = others.with_columns(draw=pl.lit(0.0))
    others = others.sort("group", "far", "draw", "completion")
    others = others.with_columns(rank=pl.int_range(pl.len(), dtype=pl.UInt32).over("group"), replaced=pl.lit(False))
    if rules.most is None:
        return others.with_columns(tied=pl.lit(False))
    beyond = others.filter(pl.col("rank") == rules.most).select("group", edge="far")
    taken = others.filter(pl.col("rank") < rules.most).join(beyond, on="group", how="left", maintain_order="left")
    tied = (pl.col("far") == pl.col("edge")).fill_null(False) & pl.lit(place.kind != "random")
    return taken.with_columns(tied=tied)


def _rejected(others: pl.DataFrame, texts: pl.DataFrame, rules: Rules, place: PlaceRule) -> pl.DataFrame:
    """Return the completion to reject of each group that has one, of those that may be rejected."""
    if place.kind == "random":
        return _at_random(others, texts, rules.seed, "rejected")
    far = _placed(others, place, "order")
    nearest = far.filter(pl.col("far") == pl.col("far").min().over("group")).select(others.columns)
    return _pick(nearest, texts, rules.rejected.ties, rules.seed, "rejected")


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


def _at_random(completions: pl.DataFrame, texts: pl.DataFrame, seed: int, salt: str) -> pl.DataFrame:
    """Return one completion per group, uniformly: number floor(u n) of its n completions for the prompt's draw u.

    They are numbered by score, and by a draw on the text where scores are equal, never by their index.
    """
    equal = completions.select(pl.struct("group", "score").is_duplicated()).to_series()
    tied = completions.filter(equal)
    tied = tied.with_columns(draw=_draws(texts, tied["at"], CHOSEN_SEED, "order"))
    single = completions.filter(~equal).with_columns(draw=pl.lit(0.0))
    ordered = pl.concat([single, tied]).sort("group", "score", "draw", "completion")
    groups = ordered.group_by("group", maintain_order=True).agg(pl.col("at").first(), pl.len().alias("number"))
    draws = uniform(texts["prompt_id"].gather(groups["at"]).to_list(), seed, salt)
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
