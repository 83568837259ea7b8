"""Scores of completions under each strategy, and the repair of overall scores."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notus_exp.config.curation_checks import check_aspects, check_repair, check_selection
from notus_exp.config.curation_settings import Ambiguous, Repair, Selection, TopTies
from notus_exp.curation.pairs import curate
from notus_exp.curation.repair import repair_scores
from notus_exp.curation.scores import labelling_scores, labellings, selected
from notus_exp.errors import UserError
from support.curation_tables import ASPECTS, completion, prompt, settings, table, texts

ROWS = table(
    prompt(
        "p",
        completion("both", 1, 4, overall=7),
        completion("one missing", None, 4, overall=None),
        completion("none", None, None, overall=10),
    )
)


def selection(name: str, aspect: str | None = None, weights: dict[str, float] | None = None) -> Selection:
    return Selection(name, aspect, weights or {}, TopTies.hash)


def scores(chosen: Selection, aspects: list[str] = ASPECTS) -> list[float | None]:
    return selected(chosen, aspects)(ROWS).values.to_list()


def test_the_critique_is_the_overall_score() -> None:
    assert scores(selection("critique")) == [7.0, None, 10.0]


def test_the_average_is_over_the_ratings_that_are_there() -> None:
    assert scores(selection("average")) == [2.5, 4.0, None]


def test_one_aspect_is_its_rating() -> None:
    assert scores(selection("per_aspect", "helpfulness")) == [1.0, None, None]


def test_the_weighted_mean_divides_by_the_weights_of_the_ratings_that_are_there() -> None:
    assert scores(selection("weighted", weights={"helpfulness": 3, "honesty": 1})) == [1.75, 4.0, None]
    assert scores(selection("weighted", weights={"helpfulness": 2})) == [1.0, None, None]


def test_a_score_that_nothing_can_be_computed_with_is_missing() -> None:
    chosen = replace(selection("expression"), score="POWER(10, 308) * (overall - 5) + 0 * overall")
    found = selected(chosen, ASPECTS)(ROWS)
    assert found.values.to_list() == [None, None, None], "2e308, missing and 5e308"
    assert found.missing == {"out_of_range": 2, "missing_input": 1}
    large = replace(chosen, score="POWER(10, 150) * (overall - 8)")
    assert scores(large) == [pytest.approx(-1e150), None, None], "the largest that is usable"


def test_equal_weighted_means_tie_although_their_sums_differ_in_the_last_bit() -> None:
    weights = {"a": 0.1, "b": 0.2, "c": 0.7}
    frame = table(prompt("p", completion("x", 3, 1, 1), completion("y", 1, 2, 1)), aspects=["a", "b", "c"])
    found = selected(selection("weighted", weights=weights), ["a", "b", "c"])(frame).values
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("chosen", "aspects", "message"),
    [
        (selection("average"), [], "use selection=critique"),
        (selection("per_aspect", "helpfulness"), [], "use selection=critique"),
        (selection("per_aspect", "helpfulnes"), ASPECTS, "did you mean 'helpfulness'"),
        (selection("per_aspect"), ASPECTS, "known: helpfulness, honesty"),
        (selection("weighted", weights={"truth": 1.0}), ASPECTS, "ratings: helpfulness, honesty"),
        (selection("weighted", weights={"honesty": -1.0}), ASPECTS, "selection.weights.honesty=-1.0"),
        (selection("weighted", weights={"honesty": math.nan}), ASPECTS, "selection.weights.honesty=nan"),
        (selection("weighted", weights={"honesty": 0.0}), ASPECTS, "no weight above 0"),
        (selection("averag"), ASPECTS, "did you mean 'average'"),
    ],
)
def test_a_strategy_that_the_data_cannot_serve_is_an_error(chosen: Selection, aspects: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_selection(chosen, aspects)
        scores(chosen, aspects)


def test_an_aspect_without_a_column_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"names truth[\s\S]*helpfulness, honesty"):
        curate(ROWS, settings(aspects=["helpfulness", "truth"]))
    with pytest.raises(UserError, match="use selection=critique"):
        curate(ROWS.drop("rating_helpfulness", "rating_honesty"), settings(aspects=["truth"]))


def test_labellings_are_critique_average_and_each_aspect() -> None:
    assert labellings(ASPECTS) == ["critique", "average", "helpfulness", "honesty"]
    with pytest.raises(UserError, match="rename the column"):
        check_aspects(["average"])
    with pytest.raises(UserError, match="'honesty' twice"):
        check_aspects(["honesty", "helpfulness", "honesty"])


def test_labelling_scores_has_a_column_per_labelling_and_keeps_the_tables_order() -> None:
    found = labelling_scores(ROWS.reverse(), ASPECTS)
    assert found.columns == ["prompt_id", "row", "completion", "critique", "average", "helpfulness", "honesty"]
    assert found["completion"].to_list() == [2, 1, 0]
    assert found["average"].to_list() == [None, 4.0, 2.5]
    assert set(found.dtypes[3:]) == {pl.Float64}
    without = labelling_scores(ROWS, [])
    assert without["average"].to_list() == [None] * 3


TENS = table(
    prompt(
        "tens",
        completion("contradicted", 2, 2, overall=10),
        completion("supported", 4, 5, overall=10),
        completion("ambiguous", 4, 4, overall=10),
        completion("no ratings", None, None, overall=10),
        completion("no ten", 1, 1, overall=9),
        completion("missing", 1, 1, overall=None),
    )
)


@pytest.mark.parametrize(
    ("name", "ambiguous", "expected"),
    [
        ("none", Ambiguous.drop, [10, 10, 10, 10, 9, None]),
        ("openbmb", Ambiguous.drop, [1, 10, None, None, 9, None]),
        ("openbmb", Ambiguous.keep, [1, 10, 10, 10, 9, None]),
        ("drop", Ambiguous.drop, [None, 10, None, None, 9, None]),
        ("drop", Ambiguous.keep, [None, 10, 10, 10, 9, None]),
    ],
)
def test_repair_judges_a_ten_by_the_mean_rating(name: str, ambiguous: Ambiguous, expected: list[float | None]) -> None:
    repaired = repair_scores(TENS, ASPECTS, Repair(name, 2.0, 4.0, ambiguous))
    assert repaired.completions["overall_score"].to_list() == expected


def test_repair_counts_what_it_did_to_each_ten() -> None:
    def counts(name: str) -> dict[str, int]:
        return repair_scores(TENS, ASPECTS, Repair(name, 2.0, 4.0, Ambiguous.drop)).counts

    changed = {"scores_of_10": 4, "ambiguous": 2, "ambiguous_removed": 2, "kept": 1}
    assert counts("openbmb") == {**changed, "repaired": 1, "removed": 0}
    assert counts("drop") == {**changed, "repaired": 0, "removed": 1}
    assert counts("none") == {
        "scores_of_10": 4, "repaired": 0, "removed": 0, "ambiguous": 0, "ambiguous_removed": 0, "kept": 4
    }  # fmt: skip


def test_without_any_rating_column_every_ten_is_ambiguous() -> None:
    repaired = repair_scores(TENS, [], Repair("openbmb", 2.0, 4.0, Ambiguous.drop))
    assert repaired.counts["ambiguous"] == 4


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 5, 10, None]), st.integers(1, 5), st.integers(1, 5)), min_size=1))
def test_repair_never_touches_another_score(rows: list[tuple[Any, int, int]]) -> None:
    frame = table(prompt("p", *(completion("x", a, b, overall=score) for score, a, b in rows)))
    after = repair_scores(frame, ASPECTS, Repair("openbmb", 2.0, 4.0, Ambiguous.drop)).completions["overall_score"]
    assert [new for (old, _, _), new in zip(rows, after, strict=True) if old != 10] == [
        old for old, _, _ in rows if old != 10
    ]


def test_repair_thresholds_in_the_wrong_order_are_an_error() -> None:
    with pytest.raises(UserError, match=r"repair\.low_mean=5 is above"):
        check_repair(Repair("openbmb", 5, 4, Ambiguous.drop))
    with pytest.raises(UserError, match="did you mean 'openbmb'"):
        repair_scores(TENS, ASPECTS, Repair("openbm", 2, 4, Ambiguous.drop))


def test_the_critique_chooses_another_response_after_the_repair() -> None:
    frame = table(prompt("p", completion("was a 1", 1, 1, overall=10), completion("fine", 4, 4, overall=7)))
    assert texts(curate(frame, settings("critique")).pairs) == [("was a 1", "fine")]
    curated = curate(frame, settings("critique", repair="openbmb"))
    assert texts(curated.pairs) == [("fine", "was a 1")]
    assert curated.pairs["rejected_score"].to_list() == [1.0]
    assert curated.counts["repair"]["repaired"] == 1
