"""Filters: each rule takes what it should, once, and the counts add up."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notus_exp.config.curation_checks import check_filters
from notus_exp.config.curation_settings import Contamination, PairChoice, Split, TopTies
from notus_exp.curation.contamination import overlap, read_prompts
from notus_exp.curation.counts import check_counts, flat
from notus_exp.curation.pairs import curate
from notus_exp.disk.hashing import prompt_id, uniform
from notus_exp.errors import UserError
from support.curation_tables import ASPECTS, completion, prompt, settings, table, texts

GOOD = (completion("good answer", 5, 5, overall=9), completion("bad answer", 1, 1, overall=2))


def dropped(frame: pl.DataFrame, benchmark: tuple[str, ...] = (), **changes: Any) -> dict[str, int]:
    """The rules that took anything, of prompts and of completions."""
    counts = curate(frame, settings(**changes), benchmark).counts
    rules = {**counts["prompts_dropped"], **counts["completions_dropped"]}
    return {rule: number for rule, number in rules.items() if number}


def test_sources_are_left_out() -> None:
    frame = table(prompt("a", *GOOD, source="truthful_qa"), prompt("b", *GOOD, source="flan"))
    assert dropped(frame, exclude_sources=["truthful_qa"]) == {"excluded_source": 1, "prompt_dropped": 2}


def test_a_margin_below_the_least_one_is_left_out_and_an_equal_one_stays() -> None:
    frame = table(prompt("wide", *GOOD), prompt("narrow", completion("x", 5, 5), completion("y", 5, 4)))
    assert dropped(frame, min_margin=0.6) == {"below_min_margin": 1, "prompt_dropped": 2}
    assert dropped(frame, min_margin=0.5) == {}


def test_lengths_are_counted_in_characters_and_empty_responses_are_a_rule_of_their_own() -> None:
    answers = [completion(text, number, number) for number, text in enumerate(["ää", " \n", "abcd", "abcdef", "abcde"])]
    frame = table(prompt("p", *answers))
    found = dropped(frame, empty_responses=True, min_chars=3, max_chars=5)
    assert found.pop("prompt_dropped", 0) == 0
    assert found == {"empty_response": 1, "below_min_chars": 1, "above_max_chars": 1}
    assert dropped(frame, min_chars=2) == {}


def test_of_repeated_responses_one_with_a_score_stays() -> None:
    frame = table(
        prompt("p", completion("same", None, None), completion("same", 5, 5), completion("same", 2, 2),
               completion("other", 1, 1))
    )  # fmt: skip
    curated = curate(frame, settings(duplicate_responses=True))
    assert curated.counts["completions_dropped"] == {
        "empty_response": 0, "below_min_chars": 0, "above_max_chars": 0, "no_score": 1, "duplicate_response": 1,
        "prompt_dropped": 0,
    }  # fmt: skip
    assert texts(curated.pairs) == [("same", "other")]
    assert curated.pairs["chosen_score"].to_list() == [5.0]


def test_identical_texts_are_no_pair() -> None:
    frame = table(prompt("p", completion("same", 5, 5), completion("same", 1, 1)), prompt("q", *GOOD))
    assert dropped(frame, identical_pairs=True) == {"identical_pair": 1, "prompt_dropped": 2}
    assert dropped(frame) == {}


@pytest.mark.parametrize(
    ("rejected", "rejects"),
    [("lowest", "worse"), ("second_best", "bad"), ("random", None)],
)
def test_a_rejected_response_of_the_same_text_gives_way_to_the_next_of_another_text(
    rejected: str, rejects: str | None
) -> None:
    lowest = completion("same", 1, 1) if rejected == "lowest" else completion("same", 4, 4)
    answers = [completion("same", 5, 5), completion("bad", 3, 3), completion("worse", 2, 2), lowest]
    frame = table(*(prompt(f"p{number}", *answers) for number in range(30)), prompt("q", *GOOD))
    before = curate(frame, settings(rejected=rejected, seed=3))
    curated = curate(frame, settings(rejected=rejected, seed=3, identical_pairs=True))
    assert curated.counts["prompts_dropped"]["identical_pair"] == 0
    found = {row["prompt_id"]: row for row in curated.pairs.iter_rows(named=True)}
    identical = 0
    for row in before.pairs.iter_rows(named=True):
        now = found[row["prompt_id"]]
        if row["chosen"] != row["rejected"]:
            assert now == row, "nothing else moves"
            continue
        identical += 1
        assert now["rejected"][0]["content"] == rejects or (not rejects and now["rejected"] != now["chosen"])
        assert now["margin"] == now["chosen_score"] - now["rejected_score"] > 0
    assert curated.counts["rejected_replaced"] == identical > 0


def test_a_prompt_with_fewer_than_two_scored_completions_is_counted() -> None:
    frame = table(
        prompt("none", completion("x", None, None), completion("y", None, None)),
        prompt("one", completion("x", 1, 1), completion("y", None, None)),
        prompt("q", *GOOD),
    )
    assert dropped(frame) == {"fewer_than_two_scored": 2, "no_score": 3, "prompt_dropped": 1}


def test_of_repeated_prompts_the_same_content_stays_wherever_it_stands() -> None:
    first = prompt("same", completion("a", 5, 5), completion("b", 1, 1))
    second = prompt("same", completion("c", 4, 4), completion("d", 2, 2))
    runs = [curate(table(*rows), settings(duplicate_prompts=True)) for rows in ((first, second), (second, first))]
    assert texts(runs[0].pairs) == texts(runs[1].pairs)
    assert all(run.counts["prompts_dropped"]["duplicate_prompt"] == 1 for run in runs)
    assert curate(table(first, second), settings()).pairs.height == 2


def test_prompts_that_are_the_same_once_folded_are_repeated_whichever_comes_first() -> None:
    plain, twins = "caf\u00e9 or tea?", ["cafe\u0301 or tea?", "caf\u00e9 or  tea?\n", "caf\u00e9 or tea?"]
    for order in ([plain, *twins], [*reversed(twins), plain]):
        curated = curate(table(*(prompt(text, *GOOD) for text in order)), settings(duplicate_prompts=True))
        assert curated.counts["prompts_dropped"]["duplicate_prompt"] == 3
        assert [row[0]["content"] for row in curated.pairs["prompt"]] == [plain]
    apart = table(prompt("a b", *GOOD), prompt("ab", *GOOD), prompt("A b", *GOOD))
    assert dropped(apart, duplicate_prompts=True) == {}


def test_another_system_turn_of_a_conversation_makes_another_prompt() -> None:
    answers = (completion("yes", overall=1.0), completion("no", overall=0.0))
    asked = [
        prompt("a?", *answers, principle=principle, system_prompt=system)
        for principle, system in (
            ("conversation", "be brief"),
            ("conversation", "be kind"),
            ("conversation", "be kind"),
        )
    ]
    counts = curate(table(*asked), settings("critique", duplicate_prompts=True)).counts
    assert counts["prompts_dropped"]["duplicate_prompt"] == 1
    unshown = [record | {"principle": "honesty"} for record in asked]
    counts = curate(table(*unshown), settings("critique", duplicate_prompts=True)).counts
    assert counts["prompts_dropped"]["duplicate_prompt"] == 2


def test_valid_under_keeps_the_prompts_of_which_every_strategy_makes_a_pair() -> None:
    frame = table(
        prompt("both", *GOOD),
        prompt("critique ties", completion("x", 5, 5, overall=5), completion("y", 1, 1, overall=5)),
        prompt("no critique", completion("x", 5, 5), completion("y", 1, 1)),
        prompt("average ties", completion("x", 3, 3, overall=5), completion("y", 3, 3, overall=4)),
    )
    kept = {}
    for name in ("average", "critique"):
        curated = curate(frame, settings(name, valid_under=["average", "critique"]))
        kept[name] = curated.pairs["prompt_id"].to_list()
        assert curated.counts["prompts_dropped"]["not_valid_under"] > 0
    assert kept["average"] == kept["critique"] == [prompt_id("both")]
    with pytest.raises(UserError, match="known: average, critique, helpfulness"):
        check_filters(settings(valid_under=["truth"]).filters, ASPECTS)


def test_max_pairs_caps_the_training_split_alone() -> None:
    frame = table(*(prompt(f"p{n}", completion("x", 5, 5), completion("y", 1 + n % 4, 1)) for n in range(200)))
    split = Split(0, 0.2, 0.2)
    everything = curate(frame, settings(split=split))
    capped = curate(frame, settings(split=split, max_pairs=20))
    assert capped.counts["split"] == {**everything.counts["split"], "train": 20}
    train = everything.pairs.filter(pl.col("split") == "train")["prompt_id"].to_list()
    draws = dict(zip(train, uniform(train, 0, "max_pairs"), strict=True))
    kept = capped.pairs.filter(pl.col("split") == "train")["prompt_id"].to_list()
    assert set(kept) == set(sorted(train, key=draws.__getitem__)[:20])
    widest = curate(frame, settings(split=split, max_pairs=20, max_pairs_by=PairChoice.largest_margin))
    assert set(widest.pairs.filter(pl.col("split") == "train")["margin"]) == {4.0}


def test_a_strategy_that_leaves_no_pair_says_which_rule_took_how_many() -> None:
    frame = table(prompt("a", *GOOD, source="s"), prompt("b", completion("x", 3, 3), completion("y", 3, 3)))
    with pytest.raises(UserError) as caught:
        curate(frame, settings(exclude_sources=["s"]))
    assert "no pair is left of 2 prompts: excluded_source took 1, nothing_worse took 1" in str(caught.value)
    with pytest.raises(UserError, match=r"fewer_than_two_scored took 1; of the completions no_score took 2"):
        curate(table(prompt("b", completion("x", 3, 3), completion("y", 3, 3))), settings("critique"))


def test_the_remedy_is_for_the_rule_that_took_the_completions() -> None:
    def remedy(answers: list[str], **filters: object) -> str:
        frame = table(prompt("b", *(completion(text, 3, number) for number, text in enumerate(answers))))
        with pytest.raises(UserError) as caught:
            curate(frame, settings(**filters))
        return caught.value.hint or ""

    emptied = remedy(["an answer", "", " "], empty_responses=True)
    assert "held nothing but their prompt" in emptied
    assert "data.repeated_prompts=keep" in emptied
    assert "another selection" not in emptied
    assert remedy(["long enough", "no", "nor"], min_chars=5) == "lower filters.min_chars"
    assert remedy(["long enough", "no"], max_chars=5) == "raise filters.max_chars"


def test_counts_that_do_not_add_up_are_a_defect() -> None:
    counts = curate(table(prompt("a", *GOOD)), settings()).counts
    check_counts(counts)
    for key in ("prompts_in", "completions_in"):
        with pytest.raises(RuntimeError, match="do not add up"):
            check_counts({**counts, key: counts[key] + 1})
    with pytest.raises(RuntimeError, match="do not add up"):
        check_counts({**counts, "ties_top": -1})
    assert flat(counts)["split/train"] == 1


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.sampled_from(["", "a", "bb", "ccc"]), st.sampled_from([None, 1, 2, 3])), max_size=4,
                 min_size=1),
        max_size=6,
    ),
    ties=st.sampled_from(TopTies),
)  # fmt: skip
def test_every_prompt_and_completion_is_accounted_for(rows: list[Any], ties: TopTies) -> None:
    prompts = [prompt(f"p{n % 3}", *(completion(text, r, r) for text, r in row)) for n, row in enumerate(rows)]
    spec = settings(ties=ties, rejected_ties=ties, duplicate_prompts=True, duplicate_responses=True,
                    identical_pairs=True, empty_responses=True, max_chars=2, max_pairs=2)  # fmt: skip
    counts = curate(table(prompt("sure", completion("x", 3, 3), completion("y", 1, 1)), *prompts), spec).counts
    assert counts["prompts_in"] == 1 + len(rows)
    assert counts["pairs_out"] + sum(counts["prompts_dropped"].values()) == 1 + len(rows)
    paired = counts["completions_in_pairs"] + counts["completions_not_taken"]
    assert paired + sum(counts["completions_dropped"].values()) == 2 + sum(map(len, rows))


def test_overlap_is_the_share_of_a_prompts_ngrams() -> None:
    benchmark = ["What is the capital of France?", "Hi"]
    prompts = [
        "what IS the, capital",  # what is the, is the capital: both known
        "the capital of Spain",  # one of two
        "hi!",  # shorter than three words: a single n-gram
        "capital of",  # a part of a known prompt, but not the same single n-gram
        "?!",
    ]
    assert overlap(prompts, benchmark, 3).to_list() == [1.0, 0.5, 1.0, 0.0, 0.0]


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab c,.", max_size=30), st.integers(1, 4))
def test_overlap_with_itself_is_complete_and_with_nothing_is_none(text: str, ngram: int) -> None:
    has_words = any(letter.isalpha() for letter in text)
    assert overlap([text], [text.upper(), "zzz"], ngram).to_list() == [1.0 if has_words else 0.0]
    assert overlap([text], ["zzz"], ngram).to_list() == [0.0]


def test_overlap_sees_the_same_letters_in_other_characters() -> None:
    assert overlap(["cafe\u0301 noir"], ["CAF\u00c9 noir"], 2).to_list() == [1.0]


def test_ngrams_do_not_run_from_one_prompt_into_the_next() -> None:
    assert overlap(["a b", "c d"], ["b c"], 2).to_list() == [0.0, 0.0]


def test_contaminated_prompts_are_left_out_above_the_largest_overlap() -> None:
    frame = table(prompt("one two three four", *GOOD), prompt("something else entirely here", *GOOD))
    contamination = Contamination([], None, 3, 0.4)
    benchmark = ("zero one two three",)
    assert dropped(frame, benchmark, contamination=contamination) == {"contaminated": 1, "prompt_dropped": 2}
    assert dropped(frame, benchmark, contamination=Contamination([], None, 3, 0.5)) == {}


@pytest.mark.parametrize("suffix", [".txt", ".json", ".jsonl", ".csv", ".parquet"])
def test_benchmark_prompts_are_read_from_every_format(tmp_path: Path, suffix: str) -> None:
    records = [{"id": "1", "question": "first, one"}, {"id": "2", "question": "second"}]
    path = tmp_path / f"benchmark{suffix}"
    if suffix == ".txt":
        path.write_text("first, one\n\nsecond\n", encoding="utf-8")
    elif suffix == ".json":
        path.write_text(json.dumps(records), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    elif suffix == ".csv":
        pl.DataFrame(records).write_csv(path)
    else:
        pl.DataFrame(records).write_parquet(path)
    assert read_prompts(path, None) == ["first, one", "second"]


def test_a_list_of_turns_gives_a_prompt_each_and_bare_texts_are_prompts(tmp_path: Path) -> None:
    turns = tmp_path / "turns.jsonl"
    turns.write_text('{"turns": ["one", "two"]}\n', encoding="utf-8")
    assert read_prompts(turns, "turns") == ["one", "two"]
    bare = tmp_path / "bare.json"
    bare.write_text('["one", "two"]', encoding="utf-8")
    assert read_prompts(bare, None) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "field", "message"),
    [
        ("a.xml", "x", None, "ends in '.xml'"),
        ("a.json", "{", None, "cannot be read"),
        ("a.json", '{"prompt": "x"}', None, "not a list"),
        ("a.json", "[]", None, "holds no prompt"),
        ("a.jsonl", '{"body": "x"}', None, "field to one of: body"),
        ("a.jsonl", '{"body": "x"}', "prompt", "no field prompt"),
        ("a.jsonl", '{"prompt": 3}', None, "holds no text"),
        ("a.jsonl", "3", None, "neither text nor an object"),
        ("a.csv", "", None, "cannot be read"),
        ("a.csv", "prompt,id,prompt\nx,1,y\n", None, "2 columns 'prompt'"),
        ("a.json", '[{"prompt": "x", "prompt": "y"}]', None, "the key 'prompt' stands twice"),
        ("a.jsonl", '{"prompt": "x", "prompt": "y"}', None, "the key 'prompt' stands twice"),
        ("a.parquet", "x", None, "cannot be read"),
    ],
)
def test_unreadable_benchmark_files_are_named(
    tmp_path: Path, name: str, content: str, field: str | None, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_prompts(path, field)
    assert name in str(caught.value)


def test_a_missing_benchmark_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_prompts(tmp_path / "no.txt", None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_repeated_responses_moves_no_pair_of_an_expression(order: tuple[int, ...]) -> None:
    answers = [completion("x", 5, 1), completion("x", 1, 5), completion("y", 3, 3), completion("x", 5, 2)]
    frame = table(prompt("p", *(answers[place] for place in order)))
    spec = settings("expression", score="helpfulness", duplicate_responses=True)
    pairs = curate(frame, spec).pairs
    assert texts(pairs) == [("x", "y")]
    assert pairs["chosen_score"].to_list() == [5.0]
    where = replace(spec, filters=replace(spec.filters, where="chosen_honesty = 1"))
    assert texts(curate(frame, where).pairs) == [("x", "y")]
    assert texts(curate(frame, replace(spec, rejected=replace(spec.rejected, score="-honesty"))).pairs) == [("x", "y")]


def test_a_selection_without_an_expression_keeps_the_first_of_repeated_responses() -> None:
    answers = completion("x", 1, 1), completion("x", 5, 5), completion("y", 3, 3)
    found = curate(table(prompt("p", *answers)), settings(duplicate_responses=True)).pairs
    assert texts(found) == [("y", "x")]
