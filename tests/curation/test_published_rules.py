"""What the rules of conf/curation make of one small world: each does what its file says."""

from __future__ import annotations

from functools import cache

import polars as pl
import pytest

from notus_exp.config.data_settings import Simulated
from notus_exp.curation.pairs import curate
from notus_exp.feedback.simulated import simulate
from notus_exp.stages.settings import PairsSettings
from support.configs import composed

WORLD = "data.prompts=120"
ASPECTS = ["helpfulness", "honesty", "instruction_following", "truthfulness"]
SIDES = ("chosen", "rejected")


@cache
def world() -> pl.DataFrame:
    data = composed(WORLD).data
    assert isinstance(data, Simulated)
    return simulate(data)


@cache
def made(name: str) -> pl.DataFrame:
    """The training pairs of a rule, with ratings (`chosen_honesty`), overall score and characters of both sides."""
    config = composed(f"curation={name}", WORLD)
    groups = {group: getattr(config, group) for group in ("repair", "selection", "rejected", "filters", "split")}
    spec = PairsSettings(config.data.aspects, contamination_digests=[], seed=0, pairs=config.pairs, **groups)
    pairs = curate(world(), spec).pairs.filter(pl.col("split") == "train")
    of_completion = {"overall": pl.col("overall_score"), "chars": pl.col("response").str.len_chars().cast(pl.Int64)}
    of_completion |= {aspect: pl.col(f"rating_{aspect}") for aspect in ASPECTS}
    for side in SIDES:
        named = {f"{side}_{name}": column for name, column in of_completion.items()}
        own = world().select("row", pl.col("completion").alias(f"{side}_completion"), **named)
        pairs = pairs.join(own, on=["row", f"{side}_completion"], how="left", maintain_order="left")
    return pairs


def of_rows(pairs: pl.DataFrame) -> list[tuple[int, ...]]:
    return pairs.select("row", *(f"{side}_completion" for side in SIDES)).rows()


def turned(pairs: pl.DataFrame) -> list[tuple[int, ...]]:
    return [(row, rejected, chosen) for row, chosen, rejected in of_rows(pairs)]


DIFFERENCES = [pl.col(f"chosen_{aspect}") - pl.col(f"rejected_{aspect}") for aspect in ASPECTS]
HOLDS: dict[str, pl.Expr] = {
    "notus": pl.col("margin") > 0,
    "zephyr": pl.col("chosen_overall") >= pl.col("rejected_overall"),
    "moderate_margin": pl.col("chosen_score") >= 4,
    "rejected_floor": (pl.col("rejected_chars") >= 40) & (pl.col("margin") <= 2),
    "consensus": pl.all_horizontal(difference.fill_null(0) >= 0 for difference in DIFFERENCES),
    "shorter_chosen": pl.col("chosen_chars") <= pl.col("rejected_chars"),
}
"""Rule -> what is true of each of its pairs."""
REPAIRS = ("zephyr", "zephyr_repaired")


@pytest.mark.parametrize("name", HOLDS)
def test_every_pair_is_as_the_rule_says(name: str) -> None:
    pairs = made(name)
    assert pairs.height > 20
    assert pairs.select(HOLDS[name].all()).item()


@pytest.mark.parametrize("name", ["moderate_margin", "rejected_floor", "consensus", "shorter_chosen"])
def test_a_rule_with_a_condition_keeps_some_of_the_pairs_of_notus(name: str) -> None:
    kept, of_notus = of_rows(made(name)), of_rows(made("notus"))
    assert {*kept} < {*of_notus}
    assert not made("notus").select(HOLDS[name].all()).item(), "the condition takes something"


def test_a_tenth_of_the_widest_and_of_the_narrowest_gaps_is_kept() -> None:
    notus, widest, narrowest = (made(name) for name in ("notus", "largest_margin", "smallest_margin"))
    number = -(-notus.height // 10)
    margins = notus["margin"].sort()
    assert sorted(narrowest["margin"]) == margins.head(number).to_list()
    assert sorted(widest["margin"]) == margins.tail(number).to_list()


def test_the_middle_gaps_are_half_of_what_the_condition_leaves_and_no_end_of_it() -> None:
    middle, notus = made("moderate_margin"), made("notus")
    ratings = pl.mean_horizontal(f"rating_{aspect}" for aspect in ASPECTS)
    spreads = world().group_by("row").agg(spread=ratings.std())
    left = notus.join(spreads, on="row").filter((pl.col("chosen_score") >= 4) & (pl.col("spread") <= 1.3))
    assert middle.height == -(-left.height // 2)
    ordered = left["margin"].sort().to_list()
    start = (left.height - middle.height) // 2
    assert sorted(middle["margin"]) == pytest.approx(ordered[start : start + middle.height])


def test_each_worse_response_gives_a_pair() -> None:
    pairs = made("all_worse")
    best = pairs.group_by("row").agg(pl.col("chosen_completion").n_unique(), pl.len(), pl.col("rejected_completion"))
    assert best["chosen_completion"].to_list() == [1] * best.height
    assert best["len"].max() == 3, "of four responses"
    assert all(len({*rejected}) == len(rejected) for rejected in best["rejected_completion"])
    assert {*of_rows(made("notus"))} <= {*of_rows(pairs)}


def test_of_four_responses_two_deviations_below_the_mean_is_the_worst() -> None:
    assert of_rows(made("mean_minus_two_sigma")) == of_rows(made("max_min"))
    assert made("max_min")["margin"].mean() > made("notus")["margin"].mean()


def test_the_controls_have_the_pairs_of_notus_with_other_labels() -> None:
    notus, drawn = made("notus"), made("random_labels")
    assert of_rows(made("sft_on_chosen")) == of_rows(notus)
    assert of_rows(made("reversed_labels")) == turned(notus)
    kept = {*of_rows(drawn)} & {*of_rows(notus)}
    assert 0.3 < len(kept) / notus.height < 0.7
    assert {*of_rows(drawn)} == kept | ({*turned(notus)} & {*of_rows(drawn)})


def test_a_repaired_10_is_chosen_no_more() -> None:
    low = pl.mean_horizontal(f"chosen_{aspect}" for aspect in ASPECTS) <= 2
    wrong = {name: made(name).filter((pl.col("chosen_overall") == 10) & low).height for name in REPAIRS}
    assert wrong["zephyr"] > 0 == wrong["zephyr_repaired"]
