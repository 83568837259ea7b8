"""What can be written in several ways has one spelling in a key, and that of the shipped files and the page is it."""

from __future__ import annotations

import re

import pytest

from notus_exp.config.expression_trees import parsed
from notus_exp.config.spelling import spelled, spelled_place
from notus_exp.run.plan import make_plan
from support.configs import composed
from support.places import ROOT
from support.plans import fixed_sources

PAGE = (ROOT / "docs/language.md").read_text(encoding="utf-8")
WAYS = [
    (["average", " average ", "average\n"], "average"),
    (["a > 1", "a>1", " a  >1"], "a > 1"),
    (["a > 1 AND NOT (b = 'x  y')", "a>1 and not(b='x  y')"], "a > 1 AND NOT (b = 'x  y')"),
    (["AVG(a) - -b", "avg( a )- -b"], "AVG(a) - -b"),
    (["-a * (b + 0.5)", "- a*(b+0.5)"], "-a * (b + 0.5)"),
    (["MEAN_OF(a, b) / 2", "mean_of (a,b)/2"], "MEAN_OF(a, b) / 2"),
    (["RANK() OVER (ORDER BY a DESC)", "rank()over(order by a desc)"], "RANK() OVER (ORDER BY a DESC)"),
    (["model NOT IN ('a', 'b')", "model not in('a','b')"], "model NOT IN ('a', 'b')"),
    (["CASE WHEN a BETWEEN -1 AND 2 THEN -1 ELSE NULL END"], "CASE WHEN a BETWEEN -1 AND 2 THEN -1 ELSE NULL END"),
    (['"Other  name" + 1', '"Other  name"+1'], '"Other  name" + 1'),
]


@pytest.mark.parametrize(("texts", "one"), WAYS)
def test_an_expression_has_one_spelling_and_its_own_meaning(texts: list[str], one: str) -> None:
    assert {spelled(text) for text in texts} == {one}
    assert all(parsed(text, "x") == parsed(one, "x") for text in texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model = 'a b'", "model = 'a  b'"),
        ("model = 'and'", "model = 'AND'"),
        ('"a b" + 1', '"a  b" + 1'),
        ("A + 1", "a + 1"),
        ("a - (-b)", "a + b"),
        ("desc + 1", "DESC + 1"),
    ],
)
def test_what_means_another_thing_has_another_spelling(one: str, other: str) -> None:
    assert spelled(one) != spelled(other)


def test_the_spelling_of_the_page_and_of_the_shipped_options_is_the_one_so_that_no_key_of_theirs_moves() -> None:
    shipped = [path.read_text(encoding="utf-8") for path in (ROOT / "conf/curation").glob("*.yaml")]
    found = [
        text.strip('"')
        for page in [*re.findall(r"```yaml\n(.*?)```", PAGE, re.S), *shipped]
        for text in re.findall(r"(?:score|where|by|weight): (\"[^\"]*\"|[^,}#\n]*[^,}#\n ])", page)
        if "path" not in text and text != "null"
    ]
    assert len(found) >= 15
    for text in found:
        assert spelled(text) == text


@pytest.mark.parametrize(
    ("written", "one"),
    [
        (" Lowest", "lowest"),
        ("quantile( .25 )", "quantile(0.25)"),
        ("mean_minus (2.0)", "mean_minus(2)"),
        ("mean_minus(2)", "mean_minus(2)"),
        ("median", "median"),
    ],
)
def test_a_place_has_one_spelling(written: str, one: str) -> None:
    assert spelled_place(written) == one


def test_settings_that_mean_the_same_have_one_key() -> None:
    def key(*given: str) -> str:
        config = composed("selection=expression", "rejected=expression", "pairs=all_worse", *given)
        return next(node.key for node in make_plan(config, fixed_sources(config)) if node.name == "pairs")

    one = ["selection.score='average - overall'", "rejected.score=overall", "rejected.place='quantile(0.25)'",
           "filters.where='margin > 1'", "filters.keep.by=margin", "filters.keep.share=0.5",
           "pairs.weight='margin + 1'", "pairs.per_prompt=2"]  # fmt: skip
    other = ["selection.score=' average-overall'", "rejected.score=' overall '", "rejected.place=' quantile(.25)'",
             "filters.where='margin>1'", "filters.keep.by='margin '", "filters.keep.share=0.5",
             "pairs.weight='margin+1'", "pairs.per_prompt='02'"]  # fmt: skip
    assert key(*one) == key(*other)
