"""Pairs: what is chosen, what is rejected, and what may and may not move it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from notus_exp.config.curation_settings import Split, TopTies
from notus_exp.curation.pairs import PAIR_COLUMNS, curate
from notus_exp.errors import UserError
from support.curation_tables import completion, prompt, settings, table, texts, world
from support.places import IMPORTABLE

FOUR = table(prompt("Four", completion("a", 1, 2), completion("b", 5, 5), completion("c", 3, 3), completion("d", 4, 4)))
ROW0 = ["helpfulness", "honesty", "instruction_following", "truthfulness"]


def row0() -> pl.DataFrame:
    """Four completions with the means and overall scores of a known UltraFeedback row."""
    return table(
        prompt(
            "Write a plan.",
            completion("from alpaca", 1, 1, 1, 2, overall=4.0, model="alpaca-7b"),
            completion("from starchat", 5, 5, 5, 5, overall=7.5, model="starchat"),
            completion("from vicuna", 4, 4, 4, 4, overall=6.0, model="vicuna-33b"),
            completion("from pythia", 2, 1, 1, 1, overall=3.0, model="pythia-12b"),
            source="evol_instruct",
        ),
        aspects=ROW0,
    )


def test_the_known_row_gives_the_known_pair_under_the_average() -> None:
    pair = curate(row0(), settings(aspects=ROW0)).pairs.row(0, named=True)
    assert (pair["chosen_model"], pair["chosen_score"], pair["rejected_score"]) == ("starchat", 5.0, 1.25)
    assert pair["rejected_model"] in {"alpaca-7b", "pythia-12b"}
    assert pair["split"] == "train"


def test_the_known_row_gives_the_known_pair_under_the_critique() -> None:
    pair = curate(row0(), settings("critique", aspects=ROW0)).pairs.row(0, named=True)
    assert (pair["chosen_model"], pair["chosen_score"]) == ("starchat", 7.5)
    assert (pair["rejected_model"], pair["rejected_score"], pair["margin"]) == ("pythia-12b", 3.0, 4.5)


def test_the_tie_policy_decides_the_known_tie_of_the_rejected() -> None:
    first = curate(row0(), settings(aspects=ROW0, rejected_ties=TopTies.first))
    assert first.pairs["rejected_model"].to_list() == ["alpaca-7b"]
    assert first.counts["ties_rejected"] == 1
    with pytest.raises(UserError, match="tie_of_rejected took 1"):
        curate(row0(), settings(aspects=ROW0, rejected_ties=TopTies.drop))


@pytest.mark.parametrize(("how", "expected"), [("lowest", ("b", "a")), ("second_best", ("b", "d"))])
def test_the_rejected_one_is_the_lowest_or_the_second_best(how: str, expected: tuple[str, str]) -> None:
    assert texts(curate(FOUR, settings(rejected=how)).pairs) == [expected]


def test_a_pair_has_the_contracts_columns_and_conversational_messages() -> None:
    pairs = curate(FOUR, settings()).pairs
    assert pairs.columns == PAIR_COLUMNS
    pair = pairs.row(0, named=True)
    assert pair["prompt"] == [{"role": "user", "content": "Four"}]
    assert pair["chosen"] == [{"role": "assistant", "content": "b"}]
    assert (pair["chosen_completion"], pair["rejected_completion"], pair["margin"]) == (1, 0, 3.5)


def test_only_a_conversations_system_prompt_is_shown() -> None:
    answers = (completion("x", 1, 1), completion("y", 2, 2))
    pairs = curate(
        table(
            prompt("one", *answers, principle="conversation", system_prompt="Be brief."),
            prompt("two", *answers, principle="honesty", system_prompt="Be honest."),
            prompt("three", *answers, principle="conversation"),
        ),
        settings(),
    ).pairs
    roles = [[message["role"] for message in messages] for messages in pairs["prompt"].to_list()]
    assert roles == [["system", "user"], ["user"], ["user"]]
    assert pairs["prompt"][0][0]["content"] == "Be brief."


def test_a_random_rejection_is_uniform_among_the_strictly_worse() -> None:
    many = table(
        *(
            prompt(f"p{i}", completion("a", 5, 5), completion("b", 5, 5), completion("c", 1, 1), completion("d", 2, 2),
                   completion("e", 3, 3))
            for i in range(900)
        )
    )  # fmt: skip
    rejected = [pair[1] for pair in texts(curate(many, settings(rejected="random")).pairs)]
    shares = {name: rejected.count(name) / 900 for name in "abcde"}
    assert shares["a"] == shares["b"] == 0
    assert all(abs(shares[name] - 1 / 3) < 0.06 for name in "cde")  # four standard errors


def test_the_older_practice_rejects_any_other_completion() -> None:
    tied = table(prompt("t", completion("a", 5, 5), completion("b", 5, 5)))
    with pytest.raises(UserError, match="nothing_worse took 1"):
        curate(tied, settings(rejected="random"))
    curated = curate(tied, settings(rejected="random", strictly_worse=False))
    assert sorted(texts(curated.pairs)[0]) == ["a", "b"]
    assert curated.pairs["margin"].to_list() == [0.0]


def test_ties_at_the_top_follow_the_policy_and_are_counted() -> None:
    tied = table(
        prompt("t", completion("a", 1, 1), completion("b", 5, 5), completion("c", 5, 5)),
        prompt("u", completion("a", 1, 1), completion("b", 5, 5)),
    )
    first = curate(tied, settings(ties=TopTies.first))
    assert texts(first.pairs)[0] == ("b", "a")
    assert first.counts["ties_top"] == 1
    dropped = curate(tied, settings(ties=TopTies.drop))
    assert texts(dropped.pairs) == [("b", "a")]
    assert dropped.counts["prompts_dropped"]["tie_at_the_top"] == 1


def test_a_tie_drawn_by_hash_takes_either_one_equally_often() -> None:
    tied = [prompt(f"p{i}", completion("a", 5, 5), completion("b", 5, 5), completion("c", 1, 1)) for i in range(600)]
    chosen = [pair[0] for pair in texts(curate(table(*tied), settings()).pairs)]
    assert abs(chosen.count("a") / 600 - 0.5) < 0.08


def test_the_seed_moves_random_rejections_and_never_the_chosen_response() -> None:
    many = table(
        *(
            prompt(f"p{i}", completion("a", 5, 5), completion("b", 5, 5), completion("c", 1, 1), completion("d", 1, 1))
            for i in range(64)
        )
    )
    for how in ("random", "lowest", "second_best"):
        runs = [texts(curate(many, settings(rejected=how, seed=seed)).pairs) for seed in (0, 1)]
        assert [pair[0] for pair in runs[0]] == [pair[0] for pair in runs[1]]
        assert [pair[1] for pair in runs[0]] != [pair[1] for pair in runs[1]]


def test_latent_columns_are_never_read() -> None:
    plain = world(60, 3)
    latent = plain.with_columns(latent_quality=pl.Series(np.linspace(0, 1, plain.height)))
    shuffled = latent.with_columns(pl.col("latent_quality").reverse())
    expected = curate(plain, settings(rejected="random"))
    for frame in (latent, shuffled):
        found = curate(frame, settings(rejected="random"))
        assert_frame_equal(found.pairs, expected.pairs)
        assert found.counts == expected.counts


ANY_SETTINGS = st.builds(
    settings,
    selection=st.sampled_from(["average", "critique"]),
    rejected=st.sampled_from(["random", "lowest", "second_best"]),
    ties=st.sampled_from(TopTies),
    rejected_ties=st.sampled_from(TopTies),
    strictly_worse=st.booleans(),
    repair=st.sampled_from(["none", "openbmb", "drop"]),
    seed=st.integers(0, 3),
    split=st.just(Split(0, 0.2, 0.2)),
    min_margin=st.sampled_from([0.0, 0.5]),
    min_chars=st.sampled_from([0, 1]),
    duplicate_prompts=st.booleans(),
    duplicate_responses=st.booleans(),
    identical_pairs=st.booleans(),
    empty_responses=st.booleans(),
    exclude_sources=st.sampled_from([[], ["bad"]]),
    valid_under=st.sampled_from([[], ["critique", "helpfulness"]]),
)


@hypothesis_settings(max_examples=25, deadline=None)
@given(spec=ANY_SETTINGS, seed=st.integers(0, 10_000))
def test_row_order_and_other_rows_do_not_change_a_prompts_pair(spec: object, seed: int) -> None:
    frame = world(24, seed)
    expected = curate(frame, spec)  # type: ignore[arg-type]
    shuffled = curate(frame.sample(fraction=1.0, shuffle=True, seed=seed), spec)  # type: ignore[arg-type]
    assert_frame_equal(shuffled.pairs, expected.pairs)
    assert shuffled.counts == expected.counts
    more = pl.concat([world(10, seed + 1).with_columns(pl.col("row") + 100), frame])
    grown = curate(more, spec).pairs.filter(pl.col("row") < 100)  # type: ignore[arg-type]
    assert_frame_equal(grown, expected.pairs)


@hypothesis_settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), how=st.sampled_from(["random", "lowest", "second_best"]))
def test_the_order_of_a_prompts_completions_does_not_change_the_texts_of_its_pair(seed: int, how: str) -> None:
    frame = world(24, seed)
    numbers = pl.int_range(pl.len()).shuffle(seed).over("row")
    spec = settings(rejected=how)
    assert texts(curate(frame.with_columns(completion=numbers), spec).pairs) == texts(curate(frame, spec).pairs)


def test_worker_counts_do_not_change_the_pairs() -> None:
    script = (
        "from support.curation_tables import settings, world\nfrom notus_exp.curation.pairs import curate\n"
        "from notus_exp.disk.hashing import digest\n"
        "frame = world(400, 5)\n"
        "for how in ('random', 'lowest'): print(digest(curate(frame, settings(rejected=how)).pairs.to_dicts()))\n"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "POLARS_MAX_THREADS": threads, **IMPORTABLE},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "3")
    ]
    assert found[0] == found[1]
    assert len(found[0].split()) == 2
