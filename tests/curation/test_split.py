"""The split by prompt id and the choice of test prompts."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notus_exp.config.curation_checks import check_split
from notus_exp.config.curation_settings import Split
from notus_exp.curation.pairs import curate
from notus_exp.curation.split import assign, fold_of, held_out_prompts
from notus_exp.disk.folding import folded
from notus_exp.disk.hashing import prompt_id, uniform
from notus_exp.errors import UserError
from notus_exp.feedback.same_prompts import folded_ids
from support.curation_tables import completion, prompt, settings, table

LETTERS_AND_SPACES = "ab \t\n\r\x0b\x1c\x1f\x7f\x85\u00e9e\u0301\u00a0\u2003"
IDS = [prompt_id(f"prompt {number}") for number in range(2000)]


def test_the_shares_are_what_was_asked_for() -> None:
    counts = assign(IDS, Split(0, 0.1, 0.2)).value_counts()
    shares = {name: number / 2000 for name, number in counts.iter_rows()}
    assert shares["validation"] == pytest.approx(0.1, abs=0.03)
    assert shares["test"] == pytest.approx(0.2, abs=0.04)


def test_the_borders_are_draws_below_test_then_below_test_plus_validation() -> None:
    split = Split(7, 0.25, 0.25)
    expected = ["test" if u < 0.25 else "validation" if u < 0.5 else "train" for u in uniform(IDS, 7, "split")]
    assert assign(IDS, split).to_list() == expected


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.integers(12, 200))
def test_other_prompts_and_their_order_do_not_move_a_prompt(order: list[int], more: int) -> None:
    split = Split(0, 0.1, 0.1)
    alone = dict(zip(IDS[:12], assign(IDS[:12], split), strict=True))
    assert assign([IDS[number] for number in order], split).to_list() == [alone[IDS[number]] for number in order]
    assert assign(IDS[:more], split).to_list()[:12] == list(alone.values())


def test_a_table_of_one_prompt_goes_to_train_and_is_counted() -> None:
    answers = (completion("a", 1, 1), completion("b", 2, 2))
    for number in range(30):
        curated = curate(table(prompt(f"only {number}", *answers)), settings(split=Split(0, 0.45, 0.45)))
        assert curated.counts["split"] == {"train": 1, "validation": 0, "test": 0}
        assert curated.counts["moved_to_train"] in (0, 1)
    assert curate(table(prompt("x", *answers)), settings()).counts["moved_to_train"] == 0


def test_in_a_part_of_the_prompts_nothing_held_out_is_trained_on_though_nothing_else_is_left() -> None:
    answers = (completion("a", 1, 1), completion("b", 2, 2))
    of_a_part, trained = replace(settings(split=Split(0, 0.45, 0.45)), part=True), 0
    for number in range(30):
        alone = table(prompt(f"only {number}", *answers))
        if assign(alone["prompt_id"][:1].to_list() + IDS, of_a_part.split)[0] == "train":
            assert curate(alone, of_a_part).counts["split"]["train"] == 1
            trained += 1
            continue
        with pytest.raises(UserError, match="no prompt of this round is left to train on: all 1 that have answers"):
            curate(alone, of_a_part)
    assert 0 < trained < 30


@pytest.mark.parametrize("part", ["test", "validation"])
def test_held_out_prompts_are_those_of_the_split_in_the_order_of_their_draw(part: str) -> None:
    texts = [f"prompt {number}" for number in range(2000)]
    frame = pl.DataFrame({"prompt_id": IDS + IDS[:100], "instruction": texts + texts[:100]})
    split = Split(3, 0.1, 0.2)
    found = held_out_prompts(frame, split, part, None)
    expected = {pid for pid, name in zip(IDS, assign(IDS, split), strict=True) if name == part}
    assert set(found) == expected
    assert len(found) == len(expected)
    draws = uniform(found, 3, f"{part}_prompts")
    assert (draws[:-1] < draws[1:]).all()
    assert held_out_prompts(frame.reverse(), split, part, 10) == found[:10]


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet=LETTERS_AND_SPACES, max_size=8), min_size=1, max_size=8))
def test_a_column_folds_as_each_of_its_texts(texts: list[str]) -> None:
    found = folded_ids(pl.Series([prompt_id(text) for text in texts]), pl.Series(texts))
    assert found.to_list() == [prompt_id(folded(text)) for text in texts]


def test_prompts_that_are_the_same_once_folded_are_of_the_same_split_and_held_out_once() -> None:
    answers = (completion("a", 1, 1), completion("b", 2, 2))
    split = Split(1, 0.2, 0.3)
    plain = [f"prompt {number}" for number in range(200)]
    alone = dict(zip(plain, assign(map(prompt_id, plain), split), strict=True))
    frame = table(*(prompt(text, *answers) for one in plain for text in (f"{one}\n", one, one.replace(" ", "  "))))
    pairs = curate(frame, settings(split=split)).pairs
    assert pairs.height == 600
    for row in pairs.iter_rows(named=True):
        assert row["split"] == alone[" ".join(row["prompt"][0]["content"].split())]
    assert held_out_prompts(frame, split, "test", None) == held_out_prompts(
        table(*(prompt(one, *answers) for one in plain)), split, "test", None
    )


def test_a_split_without_training_share_is_an_error() -> None:
    with pytest.raises(UserError, match="leave nothing to train on"):
        check_split(Split(0, 0.5, 0.5))


def test_folds_part_the_training_pairs_and_leave_the_held_out_ones() -> None:
    frame = table(*(prompt(f"p{i}", completion("a", 5, 5), completion("b", 1, 1)) for i in range(300)))
    whole = curate(frame, settings(split=Split(0, 0.2, 0.2))).pairs
    parts = [curate(frame, settings(split=Split(0, 0.2, 0.2, folds=3, fold=fold))) for fold in range(3)]
    train = [part.pairs.filter(pl.col("split") == "train") for part in parts]
    assert pl.concat(train).sort("row").equals(whole.filter(pl.col("split") == "train"))
    assert all(40 < part.height < 80 for part in train)
    for part, own in zip(parts, train, strict=True):
        held_out = part.pairs.filter(pl.col("split") != "train")
        assert held_out.equals(whole.filter(pl.col("split") != "train"))
        assert part.counts["prompts_dropped"]["other_fold"] == sum(one.height for one in train) - own.height
    assert "other_fold" not in curate(frame, settings()).counts["prompts_dropped"]


def test_a_fold_is_a_draw_of_the_folded_prompt_alone() -> None:
    split = Split(3, 0.0, 0.0, folds=2, fold=0)
    assert fold_of(IDS, split).to_list() == [int(u * 2) for u in uniform(IDS, 3, "fold")]
    frame = table(*(prompt(text, completion("a", 5, 5), completion("b", 1, 1)) for text in ("x  y", "x y", "z", "w")))
    kept = {*curate(frame, settings(split=split, duplicate_prompts=False)).pairs["row"]}
    assert (0 in kept) is (1 in kept)


@pytest.mark.parametrize(
    ("folds", "fold", "said"),
    [(2, None, "needs split.fold"), (None, 0, "needs split.folds"), (2, 2, "none of split.folds=2")],
)
def test_a_fold_must_be_one_of_the_folds(folds: int | None, fold: int | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_split(Split(0, 0.1, 0.1, folds, fold))
