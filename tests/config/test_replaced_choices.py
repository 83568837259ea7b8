"""A rule that is not taken as it stands is asked about and recorded so."""

from __future__ import annotations

from pathlib import Path

import pytest

from notus_exp.config.doubts import doubts
from notus_exp.config.replaced_choices import plain_name
from support.configs import chosen, composed

TAKEN_APART = [
    ("random_labels", "selection=average", "selection=average in place of selection=random"),
    ("all_worse", "pairs=one", "pairs=one in place of pairs=all_worse"),
    ("sft_on_chosen", "dpo.loss_type=[sigmoid]", "dpo.loss_type=[sigmoid] in place of dpo.loss_type=[sft]"),
    ("notus", "selection=critique", "selection=critique in place of selection=average"),
    (
        "max_min",
        "rejected.strictly_worse=false",
        "rejected.strictly_worse=false in place of rejected.strictly_worse=true",
    ),
    ("moderate_margin", "filters.where=null", "filters.where=null in place of filters.where=chosen_score >= 4 AND"),
    ("moderate_margin", "filters.keep.side=lowest", "filters.keep.side=lowest in place of filters.keep.side=middle"),
]


@pytest.mark.parametrize(("name", "given", "said"), TAKEN_APART, ids=[f"{one[0]} {one[1]}" for one in TAKEN_APART])
def test_what_undoes_a_rule_is_recorded_with_it_and_asked_about(name: str, given: str, said: str) -> None:
    choices = chosen(f"curation={name}", given)
    assert choices["curation"].startswith(f"{name}, with {said}")
    assert plain_name(choices["curation"]) == name
    (question,) = doubts(composed(f"curation={name}", given), choices)
    assert question.startswith(f"curation={name} is taken with {said}")


@pytest.mark.parametrize("name", ["random_labels", "sft_on_chosen", "moderate_margin", "zephyr_repaired"])
def test_a_rule_as_it_stands_has_its_name_over_any_recipe(name: str) -> None:
    assert chosen("experiment=zephyr_7b_beta", f"curation={name}")["curation"] == name


@pytest.mark.parametrize(
    "given",
    [
        ("curation=largest_margin", "filters.keep.share=0.25"),
        ("curation=notus", "selection=average", "filters.max_pairs=9"),
        ("curation=all_worse", "dpo.beta=0.5", "data.prompts=9"),
    ],
    ids=["a number of the rule's own", "the same choice again", "what is none of the rule's"],
)
def test_what_leaves_a_rule_what_it_is_is_not_asked_about(given: tuple[str, ...]) -> None:
    choices = chosen(*given)
    assert f"curation={choices['curation']}" == given[0]


def test_data_without_ratings_has_its_score_where_a_rule_takes_ratings() -> None:
    given = ("curation=notus", "selection=critique", "data=pairs", "data.path=x.jsonl", "until=pairs")
    choices = chosen(*given)
    assert choices["curation"] == "notus, with selection=critique in place of selection=average"
    assert doubts(composed(*given), choices) == []


def test_a_rule_of_ones_own_that_is_made_of_another_is_taken_apart_too(tmp_path: Path) -> None:
    (tmp_path / "curation").mkdir()
    (tmp_path / "curation/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - notus\n  - override /rejected: lowest\nfilters:\n  min_chars: 9\n"
    )
    assert chosen("curation=mine", own=tmp_path)["curation"] == "mine"
    taken = chosen("curation=mine", "selection=critique", "rejected=random", own=tmp_path)["curation"]
    assert taken == (
        "mine, with selection=critique in place of selection=average, rejected=random in place of rejected=lowest"
    )
