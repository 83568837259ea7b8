"""Overall scores in doubt: which they are, how they go back to an annotator with their critique, what comes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.annotation import make_annotations
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.curation_settings import Ambiguous, Repair
from notus_exp.contracts.curation_file import read_curation
from notus_exp.curation import make_pairs
from notus_exp.curation.repair import ANEW, in_doubt, repair_scores
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import ANNOTATIONS, COLUMNS, COMPLETIONS, CURATION_HTML, CURATION_JSON, PAIRS
from notus_exp.errors import UserError
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.stages.context import Context
from notus_exp.stages.settings import AnnotationsSettings, DoubtfulScores
from support.configs import composed
from support.curation_tables import ASPECTS, completion, prompt, settings, table, texts
from support.judges import mock_judge
from support.known_judges import answered_in_json
from support.recipes import machine

# Mean ratings of 2, 4.5, 4, none; 5 and 3; an overall score of 1 + 9/4 (mean - 1) is what they say: 3.25, 8.875, 7.75;
# 10 and 5.5.
TENS = table(
    prompt(
        "A?",
        completion("contradicted", 2, 2, overall=10),
        completion("supported", 4, 5, overall=10),
        completion("ambiguous", 4, 4, overall=10),
        completion("no ratings", None, None, overall=10),
    ),
    prompt("B?", completion("suspicious", 3, 3, overall=9), completion("plain", 3, 3, overall=8)),
)
RULE = DoubtfulScores(ASPECTS, 4.0, 3.0)


def repaired(name: str, ambiguous: Ambiguous, suspicious: float | None = 3.0, anew: Any = None) -> Any:
    made = TENS if anew is None else TENS.with_columns(pl.Series(ANEW, anew, pl.Float64))
    return repair_scores(made, ASPECTS, Repair(name, 2.0, 4.0, ambiguous, suspicious, "critic"))


@pytest.mark.parametrize(
    ("name", "ambiguous", "expected"),
    [
        ("openbmb", Ambiguous.drop, [1, 10, None, None, None, 8]),
        ("openbmb", Ambiguous.keep, [1, 10, 10, 10, 9, 8]),
        ("drop", Ambiguous.drop, [None, 10, None, None, None, 8]),
        ("none", Ambiguous.drop, [10, 10, 10, 10, 9, 8]),
    ],
)
def test_a_score_far_above_its_own_ratings_is_treated_as_a_ten_in_doubt(
    name: str, ambiguous: Ambiguous, expected: list[float | None]
) -> None:
    assert repaired(name, ambiguous).completions["overall_score"].to_list() == expected


def test_suspicious_scores_are_counted_where_they_are_asked_for() -> None:
    counts = repaired("openbmb", Ambiguous.drop).counts
    assert (counts["suspicious"], counts["suspicious_removed"], counts["scores_of_10"]) == (1, 1, 4)
    assert repaired("openbmb", Ambiguous.keep).counts["suspicious_removed"] == 0
    assert repaired("openbmb", Ambiguous.drop, 3.5).counts["suspicious"] == 0, "9 is 3.5 above 5.5, and not more"
    assert "suspicious" not in repaired("openbmb", Ambiguous.drop, None).counts


def test_scores_given_anew_are_used_and_what_has_none_is_repaired_or_removed() -> None:
    found = repaired("openbmb", Ambiguous.reannotate, anew=[2, 3, 7, None, 4, 5])
    assert found.completions["overall_score"].to_list() == [2, 10, 7, None, 4, 8], "only scores in doubt are replaced"
    assert found.counts == {
        "scores_of_10": 4, "repaired": 0, "removed": 0, "ambiguous": 2, "ambiguous_removed": 1, "kept": 1,
        "suspicious": 1, "suspicious_removed": 0, "sent_back": 1, "reannotated": 3,
    }  # fmt: skip
    without = repaired("drop", Ambiguous.reannotate, None)
    assert without.completions["overall_score"].to_list() == [None, 10, None, None, 9, 8]
    assert without.counts["removed"] == 1


def test_who_is_in_doubt_is_who_is_sent_back() -> None:
    assert in_doubt(TENS, RULE).to_list() == [True, False, True, True, True, False]
    assert in_doubt(TENS, replace(RULE, suspicious=None)).to_list() == [True, False, True, True, False, False]
    assert not in_doubt(TENS.drop("overall_score"), RULE).any()


# ------------------------------------------------------------------------------------------------------------- stages
def critic(**changes: Any) -> Annotator:
    return Annotator("critic", mock_judge(**changes), form="critique")


def ask(folder: Path, annotator: Annotator) -> dict[str, Any]:
    (folder / "out").mkdir()
    (folder / "cache").mkdir()
    context = Context(EventWriter("annotations", folder / "events.jsonl"), machine(), folder / "cache")
    context.annotators = {annotator.name: annotator}
    spec = AnnotationsSettings(annotator.name, {}, {}, None, None, False, form="critique", doubtful=RULE)
    return make_annotations.run(spec, {"feedback": folder}, folder / "out", context)


def test_scores_in_doubt_are_asked_about_with_their_critique_and_make_the_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    critiques = pl.Series("critique", ["Hopeless.", "", "Good.", "", "So so.", ""])
    TENS.with_columns(critiques).write_parquet(tmp_path / COMPLETIONS)
    given = {"contradicted": 1, "ambiguous": 9, "no ratings": 2, "suspicious": 4}

    def reply(shown: Any) -> str:
        [text], [mark] = shown.answers, shown.marks
        return json.dumps({"id": mark, "feedback": f"On {text}.", "overall_score": given[text]})

    asked = answered_in_json(monkeypatch, reply)
    facts = ask(tmp_path, critic())
    assert sorted(shown.answers[0] for shown in asked) == sorted(given)
    assert (facts["doubtful"], facts["with_value"], facts["verdicts"]) == (4, 4, 4)
    column = pl.read_parquet(tmp_path / "out" / COLUMNS)["critic"].to_list()
    assert column == [1, None, 9, 2, 4, None]
    assert pl.read_parquet(tmp_path / "out" / ANNOTATIONS)["rationale"].to_list() == [f"On {text}." for text in given]

    spec = replace(
        settings("critique", repair="openbmb"),
        repair=Repair("openbmb", 2.0, 4.0, Ambiguous.reannotate, 3.0, "critic"),
    )
    (tmp_path / "pairs").mkdir()
    inputs = {"feedback": tmp_path, "reannotated": tmp_path / "out"}
    context = Context(EventWriter("pairs", tmp_path / "p.jsonl"), machine(), tmp_path)
    make_pairs.run(spec, inputs, tmp_path / "pairs", context)
    assert texts(pl.read_parquet(tmp_path / "pairs" / PAIRS)) == [
        ("supported", "contradicted"),
        ("plain", "suspicious"),
    ]
    counts = read_curation(tmp_path / "pairs" / CURATION_JSON)["counts"]["repair"]
    assert (counts["reannotated"], counts["sent_back"], counts["suspicious"]) == (4, 1, 1)
    page = (tmp_path / "pairs" / CURATION_HTML).read_text()
    assert "Overall scores in doubt" in page and "reannotated" in page and "suspicious" in page


def test_the_critique_is_shown_to_who_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from notus_exp.judging import rating_by_json

    TENS.with_columns(critique=pl.lit("Hopeless.")).write_parquet(tmp_path / COMPLETIONS)
    shown: list[Any] = []
    known = rating_by_json.json_question
    monkeypatch.setattr(rating_by_json, "json_question", lambda one, by: shown.append(one) or known(one, by))
    ask(tmp_path, critic())
    assert {one.earlier for one in shown} == {"Hopeless."}
    assert "=== Earlier feedback" in known(shown[0], make_annotations.read_by(critic())).messages[0]["content"]


def test_where_no_score_is_in_doubt_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TENS.with_columns(overall_score=pl.lit(5.0)).write_parquet(tmp_path / COMPLETIONS)
    asked = answered_in_json(monkeypatch, lambda shown: "")
    facts = ask(tmp_path, critic())
    assert asked == [] and facts["doubtful"] == 0
    assert pl.read_parquet(tmp_path / "out" / COLUMNS)["critic"].null_count() == 6


# ---------------------------------------------------------------------------------------------------------------- plans
SMOKE = ("experiment=smoke", "selection=critique", "until=pairs")
CRITIC = "annotators=[{name: critic, judge: mock, form: critique}]"
AGAIN = ("repair=openbmb", "repair.ambiguous=reannotate", "repair.annotator=critic")


def planned(*overrides: str) -> dict[str, Node]:
    config = composed(*SMOKE, *overrides)
    return {node.name: node for node in make_plan(config, resolve(config))}


def test_a_node_asks_anew_and_the_pairs_read_it() -> None:
    plain, again = planned("repair=openbmb", CRITIC), planned(*AGAIN, CRITIC)
    assert list(plain) == ["feedback", "pairs"]
    assert list(again) == ["feedback", "reannotated", "pairs"]
    assert again["pairs"].inputs["reannotated"] == again["reannotated"].key
    other = planned(*AGAIN, CRITIC, "repair=drop")
    assert other["reannotated"].key == again["reannotated"].key, "what is done with the others moves no asking"
    assert planned(*AGAIN, CRITIC, "repair.suspicious=3")["reannotated"].key != again["reannotated"].key


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (AGAIN, "repair.annotator=critic is no item of annotators"),
        ((*AGAIN[:2], CRITIC), "needs repair.annotator"),
        (
            ("repair.ambiguous=reannotate", "repair.annotator=critic", CRITIC),
            "repair.ambiguous=reannotate, and repair=none",
        ),
        (("repair=openbmb", "repair.annotator=critic", CRITIC), "repair.annotator=critic is not read"),
        (("repair.suspicious=3",), "repair.suspicious=3 is not read"),
        ((*AGAIN, "annotators=[{name: critic, judge: mock, rubric: honesty}]"), "gives no overall score"),
    ],
)
def test_what_cannot_be_asked_anew_is_refused(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as caught:
        planned(*overrides)
    assert said in caught.value.message
