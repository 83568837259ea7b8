"""What a curation's report says of annotators, against numbers computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from notus_exp.curation.annotator_report import annotators_found
from notus_exp.curation.comparisons import outcomes, pairs_of_completions, rank_alpha
from notus_exp.curation.page import render, summarise
from notus_exp.curation.pairs import curate
from notus_exp.inference.alpha import interval_alpha
from support.curation_tables import ASPECTS, completion, prompt, settings, table
from support.pages import Page

NAN = np.nan
SHARE = {"value": 0.75, "low": 0.5, "high": 0.9, "n": 2}
TOLD = {
    "format": 1, "name": "helpful", "judge": {"name": "openai", "model": "m"}, "asked_for": "rating", "verdicts": 5,
    "failed": 1, "reasons": {"no rating in square brackets": 1}, "not_asked": 0, "with_value": 4,
    "first_preferred": None, "contradicting": None, "longer_preferred": SHARE,
    "self_preference": {"model": "m", "won": SHARE, "beside": "gold", "excess": {**SHARE, "value": 0.25}},
    "tokens": 10, "usd": 0.5,
}  # fmt: skip
FRAME = table(
    prompt("A?", completion("one", 1, 1), completion("two", 2, 4), completion("three", 3, 2)),
    prompt("B?", completion("four", 5, 5), completion("five", 1, 1)),
)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """An annotator that orders the first prompt as the first aspect does, and of the second knows one completion."""
    values = FRAME.select("row", "completion", helpful=pl.Series([10.0, 20.0, 30.0, None, 7.0]))
    values.write_parquet(tmp_path / "columns.parquet")
    (tmp_path / "annotator.json").write_text(json.dumps(TOLD))
    return {"feedback": tmp_path, "annotations_helpful": tmp_path}


def test_alpha_is_that_of_the_published_example() -> None:
    # Krippendorff 2011, "Computing Krippendorff's alpha-reliability", example C: four observers, twelve units
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
    assert interval_alpha(np.array(observers)) == pytest.approx(0.849, abs=5e-4)
    assert interval_alpha(np.array(observers) * 1e-3 + 1e6) == pytest.approx(0.849, abs=5e-4), "of any origin and unit"


def test_alpha_is_what_the_library_prints_for_its_example_and_takes_scores_of_any_number_of_values() -> None:
    # the three coders of fifteen units whose alpha, interval metric, krippendorff 0.9.0 gives as 0.811
    coders = ["*****34121133*3", "1*213343*******", "**21344*21133*4"]
    values = np.array([[NAN if sign == "*" else float(sign) for sign in coder] for coder in coders])
    assert interval_alpha(values) == pytest.approx(0.811, abs=5e-4)
    scores = np.random.default_rng(0).normal(size=20_000)
    assert interval_alpha(np.stack([scores, scores])) == 1.0


def test_alpha_of_what_never_differs_or_is_never_there_twice_is_not_defined() -> None:
    assert np.isnan(interval_alpha(np.array([[0.1, 0.1], [0.1, 0.1]])))
    assert np.isnan(interval_alpha(np.array([[1.0, NAN], [NAN, 2.0]])))


def test_ranks_within_prompts_agree_whatever_the_scale_and_what_prompts_share_counts_for_nothing() -> None:
    pairs = pairs_of_completions(np.array([0, 0, 0, 1, 1, 1]))
    one = np.array([1.0, 2.0, 3.0, 7.0, 8.0, 9.0])
    assert rank_alpha(pairs, one, one**3) == (1.0, 2)
    reverse = np.array([3.0, 2.0, 1.0, 9.0, 8.0, 7.0])
    # ranks 1 2 3 against 3 2 1, twice: D_o = 2 * 16 / 12; squares from the mean of 12 values are 8 in sum, so that
    # D_e = 2 * 12 * 8 / (12 * 11)
    assert rank_alpha(pairs, one, reverse)[0] == pytest.approx(1 - (16 / 6) / (2 * 12 * 8 / (12 * 11)))
    with_gap = np.array([1.0, NAN, 3.0, NAN, 8.0, NAN])
    assert rank_alpha(pairs, one, with_gap) == (1.0, 1), "a prompt with one common completion is left out"
    uneven = pairs_of_completions(np.array([0, 0, 1, 1, 1, 1]))
    assert rank_alpha(uneven, one, np.array([2.0, 1.0, 4.0, 3.0, 2.0, 1.0]))[0] < -0.8, (
        "a large prompt has no more of it"
    )


def test_two_completions_are_compared_within_their_prompt_alone() -> None:
    pairs = pairs_of_completions(np.array([0, 1, 0, 1, 2]))
    assert (pairs.one.tolist(), pairs.other.tolist()) == ([0, 1], [2, 3])
    assert outcomes(pairs, np.array([1.0, 5.0, 2.0, 5.0, 0.0])).tolist() == [1.0, 0.5]
    assert np.isnan(outcomes(pairs, np.array([NAN, 5.0, 2.0, 5.0, 0.0]))[0])


def test_annotators_stand_beside_the_labellings_and_the_truth(inputs: dict[str, Path]) -> None:
    completions = FRAME.with_columns(latent_quality=pl.Series([3.0, 2.0, 1.0, 0.0, 5.0]))
    found = annotators_found(completions, ASPECTS, inputs, 2)
    assert found is not None
    assert found["labellings"] == ["helpful", "average", *ASPECTS, "gold"]
    assert found["own"] == ["helpful"]
    by = dict(zip(found["labellings"], found["alpha"][0], strict=True))
    assert (by["helpful"], by["helpfulness"]) == (1.0, 1.0)
    assert by["gold"] == pytest.approx(1 - (16 / 6) / (2 * 6 * 4 / (6 * 5)))
    assert dict(zip(found["labellings"], found["common_prompts"][0], strict=True))["gold"] == 1
    [one] = found["annotators"]
    assert one["agrees_with_gold"] is not None and one["agrees_with_gold"]["value"] == 0.0
    assert one["usd_per_pair"] == 0.25


def test_a_column_called_gold_is_the_truth(inputs: dict[str, Path]) -> None:
    joined = FRAME.with_columns(pl.Series("column:gold", [1.0, 2.0, 3.0, None, None]))
    found = annotators_found(joined, ASPECTS, inputs, 2)
    assert found is not None
    [one] = found["annotators"]
    assert one["agrees_with_gold"] is not None and one["agrees_with_gold"]["value"] == 1.0
    assert annotators_found(joined, ASPECTS, {"feedback": inputs["feedback"]}, 2) is None


def test_the_page_shows_agreement_leanings_and_cost_and_without_annotators_nothing_of_it(
    inputs: dict[str, Path],
) -> None:
    spec = settings()
    found = annotators_found(FRAME, ASPECTS, inputs, 2)
    page = Page(render(summarise(FRAME, spec, curate(FRAME, spec), annotators=found)))
    text = page.texts["annotators"]
    for shown in ("helpful", "openai m", "5 (rating)", "75.0 [50.0 to 90.0]; by gold +25.0", "0.2500"):
        assert shown in text, shown
    without = summarise(FRAME, spec, curate(FRAME, spec))
    assert "annotators" not in without.numbers
    assert "annotators" not in Page(render(without)).texts
