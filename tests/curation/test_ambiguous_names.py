"""Ratings, scores and annotators may be called what the language calls something else: nothing is mixed up."""

from __future__ import annotations

import pytest
from polars.testing import assert_frame_equal

from notus_exp.curation.pairs import curate
from notus_exp.errors import UserError
from support.configs import composed
from support.curation_tables import settings, world

NAMES = ["overall", "chars", "words", "model", "source", "corpus", "principle", "tokens", "score", "margin",
         "agreement", "ref_logp", "chosen_score", "rejected_words", "select", 'a"b']  # fmt: skip
RULES = {
    "critique": {},
    "average": {},
    "per_aspect": {"aspect": "honesty"},
    "weighted": {"weights": {"helpfulness": 0.3, "honesty": 0.7}},
    "random": {},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NAMES)
def test_rules_of_before_take_their_own_columns_whatever_a_rating_is_called(rule: str, name: str) -> None:
    frame = world(20, 3)
    options = RULES[rule]
    expected = curate(frame, settings(rule, "random", **options)).pairs  # type: ignore[arg-type]
    renamed = frame.rename({"rating_honesty": f"rating_{name}"})
    if "aspect" in options:
        options = {"aspect": name}
    if "weights" in options:
        options = {"weights": {"helpfulness": 0.3, name: 0.7}}
    spec = settings(rule, "random", aspects=["helpfulness", name], **options)  # type: ignore[arg-type]
    assert_frame_equal(curate(renamed, spec).pairs, expected, check_exact=True)


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("overall", "selection.score=overall+1"),
        ("chars", "selection.score=chars"),
        ("corpus", "selection.score=IF(corpus = 'a', 1, 0)"),
        ("score", "filters.where=MAX(score) > 4.5"),
        ("score", "filters.where=chosen_score > 4.5"),
        ("margin", "filters.where=margin > 1"),
        ("agreement", "filters.where=rejected_agreement > 1"),
        ("chosen_chars", "filters.where=chosen_chars > 1"),
        ("model", "filters.keep.by=chosen_model"),
    ],
)
def test_an_expression_that_could_mean_a_rating_or_something_else_is_refused(name: str, expression: str) -> None:
    key, _, text = expression.partition("=")
    quoted = text.replace("'", "\\'")
    more = ["selection=expression"] if key == "selection.score" else []
    more += ["filters.keep.share=0.5"] if key == "filters.keep.by" else []
    data = ["data=rated", "data.path=a.jsonl", f"data.aspects=[helpfulness,{name}]"]
    composed(*data)
    with pytest.raises(UserError, match=rf"'{name}' is named in an expression[\s\S]*rename"):
        composed(*data, f"{key}='{quoted}'", *more)


@pytest.mark.parametrize("name", ["score", "margin", "agreement", "overall", "average", "corpus", "chars", "tokens"])
def test_a_score_cannot_be_called_as_something_else_is(name: str) -> None:
    with pytest.raises(UserError, match="is the name of another column too"):
        composed(f"scores=[{{path: a.jsonl, name: {name}}}]")
    with pytest.raises(UserError, match="begins as a column of a pair's side does"):
        composed(f"scores=[{{path: a.jsonl, name: chosen_{name}}}]")
