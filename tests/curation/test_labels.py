"""Controls: the pairs of a rule with labels that are drawn, or turned round."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from notus_exp.config.curation_settings import PairLabels
from notus_exp.curation.page import summarise
from notus_exp.curation.pairs import curate
from notus_exp.errors import UserError
from support.configs import composed
from support.curation_tables import completion, prompt, settings, table, texts, world

MANY = table(*(prompt(f"p{i}", completion("good", 5, 4), completion("bad", 1, 2)) for i in range(400)))
BOTH = ["chosen_completion", "rejected_completion"]


def sides(pairs: pl.DataFrame) -> list[set[int]]:
    return [set(row) for row in pairs.select(BOTH).rows()]


@pytest.mark.parametrize("control", ["random", "reversed"])
def test_a_control_has_the_pairs_of_the_average_and_other_labels(control: str) -> None:
    frame = world(60, 3)
    base = curate(frame, settings("average", "random")).pairs
    turned = curate(frame, settings(control, "random", labels=PairLabels[control])).pairs
    assert_frame_equal(turned.select("prompt_id", "row", "split"), base.select("prompt_id", "row", "split"))
    assert sides(turned) == sides(base)
    assert (turned["margin"].abs() == base["margin"]).all()
    assert (turned["margin"] == turned["chosen_score"] - turned["rejected_score"]).all()


def test_reversed_labels_exchange_the_sides_of_every_pair() -> None:
    pairs = curate(MANY, settings("reversed", labels=PairLabels.reversed)).pairs
    assert set(texts(pairs)) == {("bad", "good")}
    assert pairs["margin"].unique().to_list() == [-3.0]
    assert pairs["chosen_model"].unique().to_list() == ["model-1"]


def test_random_labels_are_a_fair_draw_that_the_seed_moves_and_nothing_else() -> None:
    spec = settings("random", labels=PairLabels.random)
    chosen = [pair[0] for pair in texts(curate(MANY, spec).pairs)]
    assert abs(chosen.count("good") / 400 - 0.5) < 0.1  # four standard errors
    other = curate(MANY, settings("random", labels=PairLabels.random, seed=1)).pairs
    assert abs(sum(a == b for a, b in zip(chosen, (pair[0] for pair in texts(other)), strict=True)) / 400 - 0.5) < 0.1
    few = curate(MANY.filter(pl.col("row") % 7 == 0).reverse(), spec).pairs
    assert [pair[0] for pair in texts(few)] == chosen[::7]


def test_without_ratings_a_control_has_the_pairs_of_the_critique() -> None:
    frame = table(prompt("p", completion("a", overall=2.0), completion("b", overall=9.0)), aspects=[])
    assert texts(curate(frame, settings("reversed", labels=PairLabels.reversed, aspects=[])).pairs) == [("a", "b")]


def test_the_report_says_that_a_control_is_one_and_how_often_it_chooses_as_others() -> None:
    spec = settings("reversed", labels=PairLabels.reversed)
    numbers = summarise(MANY, spec, curate(MANY, spec)).numbers
    assert numbers["notes"] == ["these pairs are a control: which side is chosen was turned round"]
    own, average = (numbers["agreement"]["strategies"].index(name) for name in ("reversed", "average"))
    assert numbers["agreement"]["same_chosen"][own][average] == 0.0


def test_any_selection_can_have_a_controls_labels_and_a_control_has_no_others() -> None:
    assert composed("selection=reversed").selection.labels is PairLabels.reversed
    assert composed("selection=critique", "selection.labels=random").selection.name == "critique"
    with pytest.raises(UserError, match=r"selection=random has selection.labels=kept\n.*selection=average"):
        composed("selection=random", "selection.labels=kept")
