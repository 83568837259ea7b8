"""Keys that lead into lists are one clear error where they lead to nothing."""

from __future__ import annotations

import pytest

from notus_exp.errors import UserError
from support.configs import composed

NONE = "there is none"
ANNOTATOR = "annotators=[{name: kk, judge: openai, model: m, rubric: honesty}]"
FILE = "scores=[{path: a.csv, name: b}]"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["annotators.kk.budget=1"], f"annotators.kk.budget is no setting of an annotator: {NONE}"),
        ([ANNOTATOR, "annotators.other.budget=1"], "no setting of an annotator: there is number 0"),
        (["annotators.0.max_tokens=5"], f"annotators.0.max_tokens is no setting of an annotator: {NONE}"),
        ([ANNOTATOR, "annotators.0=x"], "annotators.0 is no setting of an annotator: there is number 0"),
        ([ANNOTATOR, "annotators.0.budgt=1"], r"annotators\[0\] has no setting 'budgt' .*\n.*budget"),
        (["scores.x.path=1"], f"scores.x.path is no setting of an item of scores: {NONE}"),
        ([FILE, "scores.x.path=1"], "scores.x.path is no setting of an item of scores: there is number 0"),
        ([FILE, "~scores.0"], "scores.0 is no setting of an item of scores: there is number 0"),
        (["data=mapped", "data.mapping.completions.x.text=1"], "is no setting of a completion: there is none"),
        (["study.seeds.x=1"], "study.seeds.x is no item of study.seeds: there are those of numbers 0 to 2"),
        (["dpo.loss_type.9=sft"], r"dpo.loss_type.9 is no item of dpo.loss_type: .*\n.*'dpo.loss_type=\[VALUE,...\]'"),
        (["data.aspects.x=1"], "data.aspects.x is no item of data.aspects"),
    ],
)
def test_a_key_that_leads_into_no_item_is_one_error(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        composed(*given)


def test_a_setting_of_an_item_is_set() -> None:
    config = composed(
        ANNOTATOR, "annotators.0.max_tokens=5", "annotators.0.rubric=helpfulness", FILE, "scores.0.column=c"
    )
    assert (config.annotators[0].judge.max_tokens, config.annotators[0].rubric) == (5, "helpfulness")
    assert config.scores[0].column == "c"
    named = composed(ANNOTATOR, "annotators.kk.max_tokens=5", FILE, "scores.b.column=c")
    assert (named.annotators[0].judge.max_tokens, named.scores[0].column) == (5, "c"), "by name as errors have it"
    assert composed("dpo.loss_type.1=ipo").dpo.loss_type == ["sigmoid", "ipo"]
