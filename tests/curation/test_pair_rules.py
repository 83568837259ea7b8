"""Conditions on pairs, shares of them, several of a prompt, and weights."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from notus_exp.config.curation_settings import Keep, KeepSide, PairLabels, Split
from notus_exp.curation.pairs import PAIR_COLUMNS, curate
from notus_exp.errors import UserError
from support.configs import composed
from support.curation_tables import completion, prompt, settings, table, texts, world

FOUR = table(
    prompt(
        "one", completion("aa", 5, 5, overall=9), completion("b", 1, 2, overall=3), completion("ccc", 3, 1, overall=0)
    ),
    prompt("two", completion("dd", 4, 4, overall=8, model="m"), completion("eeee", 2, 4, overall=8)),
    prompt("three", completion("ff", 3, 3, overall=5), completion("g", 2, 2, overall=4)),
    prompt("four", completion("hh", 3, 2, overall=None), completion("i", 1, 3, overall=4)),
)


def left(where: str) -> list[str]:
    return [pair[0] for pair in texts(curate(FOUR, settings(where=where)).pairs)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("margin >= 1", ["aa", "dd", "ff"]),
        ("chosen_score >= 4 AND rejected_score < 2", ["aa"]),
        ("agreement = 1", ["aa", "dd", "ff"]),
        ("agreement BETWEEN 0.4 AND 0.6", ["hh"]),
        ("chosen_chars > rejected_chars", ["aa", "ff", "hh"]),
        ("chosen_overall > rejected_overall", ["aa", "ff"]),
        ("chosen_overall / rejected_overall > 2", ["aa"]),
        ("chosen_model = 'm'", ["dd"]),
        ("chosen_helpfulness - rejected_helpfulness <= 2", ["dd", "ff", "hh"]),
        ("STDDEV(average) < 0.8", ["dd", "ff", "hh"]),
        ("MAX(score) = chosen_score AND COUNT(score) = 3", ["aa"]),
        ("MIN(chars) > 1", ["dd"]),
    ],
)
def test_a_condition_is_over_the_pair_and_its_aggregates_over_the_prompt(where: str, expected: list[str]) -> None:
    assert left(where) == expected


def test_what_a_condition_takes_and_what_it_has_no_value_for_are_counted_apart() -> None:
    curated = curate(FOUR, settings(where="chosen_overall / (rejected_overall - 8) > -1.5"))
    dropped = curated.counts["prompts_dropped"]
    assert (dropped["where_missing"], dropped["where_false"]) == (2, 1)
    assert curated.counts["missing_values"]["filters.where"] == {"division_by_zero": 1, "missing_input": 1}
    with pytest.raises(UserError, match=r"where_missing took 4[\s\S]*filters\.where is missing by zero_by_zero 4"):
        curate(FOUR, settings(where="(margin - margin) / 0 > 1"))
    assert "where_false" not in curate(FOUR, settings()).counts["prompts_dropped"]


@pytest.mark.parametrize(("side", "first"), [("highest", 96), ("lowest", 1), ("middle", 48)])
def test_a_share_of_the_training_pairs_is_kept_by_a_number_of_the_pair(side: str, first: int) -> None:
    frame = table(*(prompt(f"p{i}", completion("a", 1 + i, 1 + i), completion("b", 1, 1)) for i in range(1, 101)))
    curated = curate(frame, settings(keep=Keep("margin", 0.05, KeepSide[side])))
    assert sorted(curated.pairs["margin"].to_list()) == [float(first + step) for step in range(5)]
    assert curated.counts["prompts_dropped"]["not_kept"] == 95


def test_a_share_is_of_training_pairs_alone_and_ties_fall_by_a_hash_of_the_prompt() -> None:
    frame = table(*(prompt(f"p{i}", completion("a", 5, 5), completion("b", 1, 1)) for i in range(200)))
    split = Split(0, 0.2, 0.2)
    whole = curate(frame, settings(split=split)).pairs
    spec = settings(split=split, keep=Keep("margin", 0.25, KeepSide.highest))
    kept = curate(frame, spec).pairs
    train = whole.filter(pl.col("split") == "train").height
    assert kept.filter(pl.col("split") == "train").height == -(-train // 4)
    assert_frame_equal(kept.filter(pl.col("split") != "train"), whole.filter(pl.col("split") != "train"))
    assert_frame_equal(curate(frame.reverse(), spec).pairs, kept)
    assert kept.filter(pl.col("split") == "train")["row"].to_list() != sorted(range(200))[: -(-train // 4)]


def test_a_pair_whose_value_is_missing_is_not_kept() -> None:
    curated = curate(FOUR, settings(keep=Keep("chosen_overall", 0.9, KeepSide.lowest)))
    assert [pair[0] for pair in texts(curated.pairs)] == ["aa", "dd", "ff"]
    assert curated.counts["missing_values"] == {"filters.keep.by": {"missing_input": 1}}


SIX = table(
    prompt("p", *(completion(text, score, score) for text, score in zip("abcdef", (1, 2, 3, 4, 5, 5), strict=True))),
    prompt("q", completion("x", 2, 2), completion("y", 1, 1)),
)


def test_the_chosen_response_against_each_worse_one() -> None:
    curated = curate(SIX, settings(per_prompt="all_worse"))
    chosen = texts(curated.pairs)[0][0]
    assert chosen in "ef"
    assert texts(curated.pairs) == [*((chosen, text) for text in "abcd"), ("x", "y")]
    assert curated.pairs["split"].n_unique() == 1
    counts = curated.counts
    assert (counts["pairs_out"], counts["prompts_out"], counts["completions_in_pairs"]) == (5, 2, 7)
    assert counts["ties_top"] == 1


@pytest.mark.parametrize(
    ("place", "expected"),
    [("lowest", "ab"), ("second_best", "cd"), ("quantile(0.5)", "cd"), ("mean_minus(1)", "ab")],
)
def test_so_many_pairs_are_those_nearest_to_the_place(place: str, expected: str) -> None:
    spec = settings("average", "expression", rejected_place=place, per_prompt="2")
    pairs = curate(SIX, spec).pairs
    assert [rejected for _, rejected in texts(pairs)] == [*expected, "y"]


def test_some_at_random_are_a_draw_that_the_seed_moves() -> None:
    answers = [completion(text, score, score) for text, score in zip("abcde", (1, 2, 3, 4, 5), strict=True)]
    many = table(*(prompt(f"p{i}", *answers) for i in range(300)))
    rejected = [pair[1] for pair in texts(curate(many, settings(rejected="random", per_prompt="2")).pairs)]
    assert all(abs(rejected.count(text) / 300 - 0.5) < 0.12 for text in "abcd")
    other = curate(many, settings(rejected="random", per_prompt="2", seed=1)).pairs
    assert rejected != [pair[1] for pair in texts(other)]


def test_rules_on_pairs_take_pairs_of_a_prompt_and_not_the_prompt() -> None:
    curated = curate(SIX, settings(per_prompt="all_worse", min_margin=2.0))
    assert [rejected for _, rejected in texts(curated.pairs)] == ["a", "b", "c"]
    assert curated.counts["pairs_dropped"] == {"below_min_margin": 1}
    assert curated.counts["prompts_dropped"]["below_min_margin"] == 1
    capped = curate(SIX, settings(per_prompt="all_worse", max_pairs=3)).counts
    assert (capped["pairs_out"], capped["split"]["train"]) == (3, 3)


def test_one_pair_a_prompt_is_what_it_was_and_all_worse_holds_it() -> None:
    frame = world(40, 3)
    one = curate(frame, settings(rejected="random", identical_pairs=True))
    every = curate(frame, settings(rejected="random", identical_pairs=True, per_prompt="all_worse")).pairs
    keys = ["prompt_id", "row", "chosen_completion", "rejected_completion"]
    assert one.pairs.join(every, on=keys, how="anti").is_empty()
    assert "prompts_out" not in one.counts


@pytest.mark.parametrize("place", ["random", "lowest", "second_best", "quantile(0.5)", "mean_minus(1)"])
@pytest.mark.parametrize(
    ("strictly", "identical", "repeats"), [(True, True, False), (False, True, False), (False, False, True)]
)
def test_the_pairs_of_fewer_a_prompt_are_among_those_of_more(
    place: str, strictly: bool, identical: bool, repeats: bool
) -> None:
    frame = world(150, 5)
    keys = ["prompt_id", "row", "chosen_completion", "rejected_completion"]

    def made(per_prompt: str) -> pl.DataFrame:
        spec = settings(
            *("average", "expression"), rejected_place=place, per_prompt=per_prompt, strictly_worse=strictly,
            identical_pairs=identical, duplicate_responses=repeats,
        )  # fmt: skip
        return curate(frame, spec).pairs.select(keys)

    arms = [made(number) for number in ("1", "2", "3", "all_worse")]
    for fewer, more in pairwise(arms):
        assert fewer.height < more.height
        assert fewer.join(more, on=keys, how="anti").is_empty()


def test_weights_have_mean_one_over_the_training_pairs() -> None:
    frame = table(*(prompt(f"p{i}", completion("a", 2 + i % 3, 2 + i % 3), completion("b", 1, 1)) for i in range(90)))
    pairs = curate(frame, settings(weight="margin", split=Split(0, 0.3, 0.0))).pairs
    assert pairs.columns == [*PAIR_COLUMNS, "weight"]
    train = pairs.filter(pl.col("split") == "train")
    assert train["weight"].mean() == pytest.approx(1.0, abs=1e-12)
    ratios = (pairs["weight"] / pairs["margin"]).to_list()
    assert ratios == pytest.approx([ratios[0]] * 90)
    assert "weight" not in curate(frame, settings()).pairs.columns


def test_weights_see_a_pair_before_its_labels_are_turned() -> None:
    plain = curate(FOUR, settings(weight="margin")).pairs["weight"]
    turned = curate(FOUR, settings(weight="margin", labels=PairLabels.reversed)).pairs["weight"]
    assert plain.equals(turned)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("margin - 2", "negative for 3 of 4 pairs"),
        ("chosen_overall", r"missing for 1 of 4 pairs: missing_input 1\n.*COALESCE"),
        ("1 / (rejected_overall - 4)", "division_by_zero 2"),
        ("0 * margin", "0 for every training pair"),
    ],
)
def test_a_weight_that_cannot_be_is_refused(weight: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        curate(FOUR, settings(weight=weight))


@hypothesis_settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), per_prompt=st.sampled_from(["1", "2", "all_worse"]))
def test_counts_add_up_and_other_prompts_move_no_condition(seed: int, per_prompt: str) -> None:
    frame = world(24, seed)
    spec = settings(
        rejected="random",
        per_prompt=per_prompt,
        where="margin > STDDEV(average) / 9 AND agreement >= 0",
        min_margin=0.5,
    )
    try:
        expected = curate(frame, spec).pairs
    except UserError:
        return
    more = pl.concat([world(10, seed + 1).with_columns(pl.col("row") + 100), frame]).sample(
        fraction=1, shuffle=True, seed=1
    )
    assert_frame_equal(curate(more, spec).pairs.filter(pl.col("row") < 100), expected)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["filters.where=margin"], "margin is a number, and a condition is needed"),
        (["filters.where='marginn > 1'"], "did you mean 'margin'"),
        (["filters.where='RANK() OVER (ORDER BY margin) = 1'"], "pairs have no ranks"),
        (["filters.where='helpfulness > 1'"], "no column 'helpfulness'"),
        (["filters.keep.share=0.5"], "read with filters.keep.by"),
        (["filters.keep.by=margin"], "keeps all"),
        (["filters.keep.by=margin", "filters.keep.share=0"], "out of range"),
        (["pairs.per_prompt=0"], "no number of pairs"),
        (["pairs.per_prompt=all"], "all_worse"),
        (["pairs=all_worse", "rejected=lowest", "rejected.ties=drop"], "rejected.ties=hash"),
        (["pairs.weight='margin > 1'"], "a number is needed"),
    ],
)
def test_pair_rules_are_checked_with_the_config(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        composed(*overrides)


def test_the_options_of_pairs_and_a_share_given_as_a_mapping_compose() -> None:
    assert composed("pairs=all_worse").pairs.per_prompt == "all_worse"
    assert composed("pairs.per_prompt=3", "pairs.weight=margin").pairs.weight == "margin"
    config = composed("filters.keep={by: margin, share: 0.1, side: lowest}")
    assert config.filters.keep == Keep("margin", 0.1, KeepSide.lowest)


def test_a_margin_of_rewards_is_the_chosen_sides_less_the_rejected_sides() -> None:
    rewards = pl.Series("column:probe_reward", [2.0, 0.5, 1.0, 1.0, 3.0, 4.0, 0.0, -1.0, 0.0])
    scored = FOUR.with_columns(rewards)
    spec = settings(where="probe_margin > 0")
    spec.columns = ["probe_reward"]
    kept = curate(scored, spec).pairs.select("chosen_completion", "rejected_completion", "row")
    by_place = {(row["row"], row["completion"]): row["column:probe_reward"] for row in scored.iter_rows(named=True)}
    assert kept.height
    assert all(by_place[row, one] > by_place[row, two] for one, two, row in kept.iter_rows())
    dropped = curate(scored, settings(where="chosen_probe_reward > rejected_probe_reward"))
    assert dropped.pairs.height == kept.height < curate(scored, settings()).pairs.height
