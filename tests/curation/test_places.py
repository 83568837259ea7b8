"""Which completion is chosen and which rejected, by the place of its score, or of another score."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from notus_exp.config.curation_settings import TopTies
from notus_exp.config.places import PlaceRule, place_of
from notus_exp.curation.pairs import curate
from notus_exp.errors import UserError
from support.configs import composed
from support.curation_tables import completion, prompt, settings, table, texts, world

SEVEN = table(
    prompt("p", *(completion(text, score, 9 - score) for text, score in zip("abcdefg", range(1, 8), strict=True)))
)
"""Helpfulness 1 to 7: median 4, mean 4, sample standard deviation 2.16."""


def rejected(place: str, **options: object) -> str:
    spec = settings("expression", "expression", score="helpfulness", rejected_place=place, **options)  # type: ignore[arg-type]
    return texts(curate(SEVEN, spec).pairs)[0][1]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("lowest", "a"), ("second_best", "f"), ("highest", "f"), ("median", "d"), ("quantile(0)", "a"),
        ("quantile(0.5)", "d"), ("quantile(0.34)", "c"), ("quantile(1)", "f"), ("mean_minus(1)", "b"),
        ("mean_minus(0)", "d"), ("mean_minus(9)", "a"), ("mean_plus(0.5)", "e"),
    ],
)  # fmt: skip
def test_the_nearest_to_a_place_among_the_worse_is_rejected(place: str, expected: str) -> None:
    assert rejected(place) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("highest", "g"),
        ("second_best", "f"),
        ("median", "d"),
        ("quantile(0.8)", "f"),
        ("mean_minus(1)", "b"),
        ("lowest", "a"),
    ],
)
def test_the_chosen_one_may_have_another_place_and_the_rejected_is_worse_than_it(place: str, expected: str) -> None:
    worse = place != "lowest"
    spec = settings("expression", "second_best", score="helpfulness", place=place, strictly_worse=worse)
    pair = texts(curate(SEVEN, spec).pairs)[0]
    assert pair == (expected, chr(ord(expected) - 1) if worse else "g")


def test_another_score_may_order_the_rejected_and_margins_stay_the_selections() -> None:
    assert rejected("lowest", rejected_score="honesty") == "f"
    assert rejected("highest", rejected_score="IF(helpfulness = 3, 1, 0)") == "c"
    assert rejected("highest", rejected_score="IF(helpfulness > 2, NULL, honesty)") == "a"
    spec = settings("expression", "expression", score="helpfulness", rejected_score="honesty", rejected_place="lowest")
    assert curate(SEVEN, spec).pairs["margin"].to_list() == [1.0]


def test_a_random_place_of_the_chosen_is_uniform_and_moves_with_the_seed() -> None:
    answers = [completion(text, score, score) for text, score in zip("abcd", (1, 2, 3, 4), strict=True)]
    many = table(*(prompt(f"p{i}", *answers) for i in range(400)))
    spec = settings("average", "lowest", place="random", strictly_worse=False)
    chosen = [pair[0] for pair in texts(curate(many, spec).pairs)]
    assert all(abs(chosen.count(text) / 400 - 0.25) < 0.09 for text in "abcd")  # four standard errors
    other = curate(many, settings("average", "lowest", place="random", strictly_worse=False, seed=1)).pairs
    assert chosen != [pair[0] for pair in texts(other)]


def test_a_prompt_whose_scores_are_all_equal_has_no_second_best() -> None:
    frame = table(
        prompt("equal", completion("a", 1, 1), completion("b", 1, 1)),
        prompt("three", completion("a", 1, 1), completion("b", 2, 2), completion("c", 3, 3)),
    )
    curated = curate(frame, settings("average", "lowest", place="second_best"))
    assert texts(curated.pairs) == [("b", "a")]
    assert curated.counts["prompts_dropped"]["nothing_worse"] == 1


@hypothesis_settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    place=st.sampled_from(["quantile(0.25)", "mean_minus(1)", "median", "random"]),
    how=st.sampled_from(["quantile(0.4)", "mean_minus(2)", "lowest", "random"]),
    per_prompt=st.sampled_from(["1", "2", "all_worse"]),
    score=st.sampled_from([None, "honesty - overall"]),
)
def test_other_prompts_and_orders_move_no_place(
    seed: int, place: str, how: str, per_prompt: str, score: str | None
) -> None:
    frame = world(24, seed)
    spec = settings(
        "average", "expression", place=place, rejected_place=how, rejected_score=None if how == "random" else score,
        strictly_worse=False, per_prompt=per_prompt, identical_pairs=True,
    )  # fmt: skip
    expected = curate(frame, spec).pairs
    assert_frame_equal(curate(frame.sample(fraction=1.0, shuffle=True, seed=seed), spec).pairs, expected)
    more = pl.concat([world(10, seed + 1).with_columns(pl.col("row") + 100), frame])
    assert_frame_equal(curate(more, spec).pairs.filter(pl.col("row") < 100), expected)


@pytest.mark.parametrize("how", ["lowest", "random", "second_best"])
@pytest.mark.parametrize("ties", TopTies)
def test_the_places_of_before_are_options_by_name(how: str, ties: TopTies) -> None:
    frame = world(60, 5)
    expected = curate(frame, settings("average", how, rejected_ties=ties)).pairs
    found = curate(
        frame, settings("average", "expression", rejected_place=how, rejected_score="average", rejected_ties=ties)
    )
    assert_frame_equal(found.pairs, expected, check_exact=True)


def test_a_place_is_read_and_a_mistake_named() -> None:
    assert place_of(" Mean_minus( 2 ) ", "k") == PlaceRule("mean_minus", 2.0)
    for text, words in (("low", "did you mean 'lowest'"), ("quantile(2)", "from 0 to 1"), ("quantile", "quantile"),
                        ("lowest(1)", "no place"), ("mean_minus(x)", "from 0 to 100"), ("", "no place")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            place_of(text, "rejected.place")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["rejected=lowest", "rejected.place=random"], "write rejected=expression rejected.place=random"),
        (["rejected=lowest", "rejected.score=overall"], "write rejected=expression"),
        (["rejected=expression", "rejected.place=null"], r"rejected\.place must be given"),
        (["rejected=expression", "rejected.place=worst"], "worst is no place"),
        (["rejected=expression", "rejected.place=random", "rejected.score=overall"], "orders nothing"),
        (["rejected=expression", "rejected.score=margin"], "no column 'margin'"),
        (["selection.place=lowest"], r"rejected\.strictly_worse=false"),
        (["selection.place=random", "selection.ties=first"], "does nothing"),
    ],
)
def test_places_that_cannot_be_are_refused_with_the_config(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        composed(*overrides)
