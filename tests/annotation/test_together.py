"""Annotators that answer in JSON: the order is undone, words become columns, counts are told, arms keep their keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from notus_exp.annotation import make_annotations
from notus_exp.annotation.questions_of_completions import together_of, with_text
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.data_settings import Simulated
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import ANNOTATIONS, ANNOTATOR_JSON, COLUMNS, COMPLETIONS
from notus_exp.errors import UserError
from notus_exp.feedback.simulated import simulate
from notus_exp.stages.context import Context
from notus_exp.stages.settings import AnnotationsSettings
from support.curation_tables import completion, prompt, table
from support.judges import mock_judge, replay_judge
from support.known_judges import answered_in_json, ratings_of
from support.places import ROOT
from support.recipes import machine

RATING = {"a": 5, "bb": 2, "ccc": "N/A", "dddd": 9, "e": 4}


@pytest.fixture
def feedback(tmp_path: Path) -> Path:
    """Two prompts: of three completions and one without a text, and of two."""
    made = table(
        prompt("A?", completion("a"), completion("bb"), completion(" "), completion("ccc")),
        prompt("B?", completion("dddd"), completion("e")),
    )
    folder = tmp_path / "feedback"
    folder.mkdir()
    made.write_parquet(folder / COMPLETIONS)
    return folder


class Written:
    """What the stage wrote."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.columns = pl.read_parquet(out / COLUMNS)
        self.verdicts = pl.read_parquet(out / ANNOTATIONS)
        self.told = json.loads((out / ANNOTATOR_JSON).read_text())


def annotate(feedback: Path, annotator: Annotator, **sources: Path) -> Written:
    out = feedback.parent / "out"
    out.mkdir(exist_ok=True)
    context = Context(EventWriter("annotations", out / "events.jsonl"), machine(), feedback.parent / "cache")
    context.cache.mkdir(exist_ok=True)
    context.annotators = {annotator.name: annotator}
    context.sources = {f"annotators.{annotator.name}.{setting}": [str(path)] for setting, path in sources.items()}
    spec = AnnotationsSettings(annotator.name, {}, {}, annotator.rubric, annotator.scale, annotator.pairs)
    return Written(out, make_annotations.run(spec, {"feedback": feedback}, out, context))


def true(**changes: Any) -> Annotator:
    return Annotator("true", mock_judge(max_failure_rate=0.5, **changes), rubric="truthfulness", together=True)


def test_all_completions_are_shown_in_one_call_and_the_order_is_undone(
    feedback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answered_in_json(monkeypatch, lambda shown: ratings_of(shown, RATING.__getitem__))
    made = annotate(feedback, true())
    assert sorted(sorted(shown.answers) for shown in asked) == [["a", "bb", "ccc"], ["dddd", "e"]]
    assert made.columns.rows() == [
        (0, 0, 5.0), (0, 1, 2.0), (0, 2, None), (0, 3, None), (1, 0, None), (1, 1, 4.0),
    ]  # fmt: skip
    assert made.verdicts["rationale"].to_list() == [f"About {text}." for text in RATING]
    by_text = dict(zip(RATING, made.verdicts["order"].to_list(), strict=True))
    for shown in asked:
        assert [by_text[text] for text in shown.answers] == [str(place) for place in range(1, len(shown.answers) + 1)]


def test_what_failed_and_what_does_not_apply_are_counted_apart(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_in_json(monkeypatch, lambda shown: ratings_of(shown, RATING.__getitem__))
    made = annotate(feedback, true(input_price=10.0, output_price=100.0))
    told = made.told
    assert (told["asked_for"], told["verdicts"], told["failed"], told["not_applicable"]) == ("together", 5, 1, 1)
    assert told["reasons"] == {"the rating 9 is not between 1 and 5": 1}
    assert (told["with_value"], told["not_asked"]) == (3, 1)
    assert (told["tokens"], told["usd"]) == (2 * 110, pytest.approx(2 * 0.002)), "of two calls"
    assert made.facts["failed"] == 1


def test_too_many_failures_end_the_stage_and_na_is_none(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_in_json(monkeypatch, lambda shown: ratings_of(shown, lambda text: "N/A"))
    assert annotate(feedback, true()).columns["true"].null_count() == 6
    answered_in_json(monkeypatch, lambda shown: "I like them all.")
    with pytest.raises(UserError, match=r"annotators.true: 5 of 5 verdicts of 'true' failed.*no JSON") as error:
        annotate(feedback, true(model="other"))
    assert error.value.hint.endswith("raise annotators.true.max_failure_rate")
    with pytest.raises(UserError, match=r"^data.judge: 5 of 5 verdicts"):
        annotate(feedback, replace(true(model="other"), told_at="data.judge"))


def test_the_order_depends_on_the_prompt_alone() -> None:
    texts = [completion(str(number)) for number in range(6)]
    both = with_text(table(prompt("A?", *texts), prompt("B?", *texts)))
    first, second = together_of(both).questions
    assert sorted(first.responses) == sorted(second.responses) == [str(number) for number in range(6)]
    assert first.responses != second.responses
    [alone] = together_of(with_text(table(prompt("B?", *texts)))).questions
    assert alone == second
    drawn = [shown.responses[0] for shown in together_of(_many(texts)).questions]
    assert all(50 < drawn.count(str(number)) < 150 for number in range(6)), (
        "of 600 prompts each is first about 100 times"
    )


def _many(texts: list[Any]) -> pl.DataFrame:
    return with_text(table(*(prompt(f"Question {number}?", *texts) for number in range(600))))


def test_a_judge_that_prefers_what_it_is_shown_early_is_said_to(
    feedback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def early(shown: Any) -> str:
        return ratings_of(shown, lambda text: 5 - shown.answers.index(text))

    answered_in_json(monkeypatch, early)
    assert annotate(feedback, true()).told["first_preferred"]["value"] == 1.0
    answered_in_json(monkeypatch, lambda shown: ratings_of(shown, {"a": 1, "bb": 2, "ccc": 3, "dddd": 4, "e": 4}.get))
    made = annotate(feedback, true(model="other"))
    order = dict(zip(RATING, map(int, made.verdicts["order"]), strict=True))
    higher = [order[more] < order[less] for less, more in (("a", "bb"), ("a", "ccc"), ("bb", "ccc"))]
    found = made.told["first_preferred"]["value"]
    assert found == pytest.approx(sum(higher) / 3, abs=1e-6), "equal ratings tell nothing"


def test_the_mock_that_reads_constraints_learns_something_of_the_simulated_world(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    folder.mkdir()
    world = simulate(simulated(prompts=60, statements=1))
    world.write_parquet(folder / COMPLETIONS)
    annotator = Annotator(
        "follows", mock_judge(verdicts_by="constraints"), rubric="instruction_following", together=True
    )
    made = annotate(folder, annotator)
    assert made.told["failed"] == 0
    joined = world.with_columns(seen=made.columns["follows"])
    best = joined.filter(pl.col("seen") == 5.0)["latent_quality"].mean()
    worst = joined.filter(pl.col("seen") == 1.0)["latent_quality"].mean()
    assert best - worst > 0.2, "who keeps all is better than who keeps none, by the quality that nobody tells the judge"


def simulated(**changes: Any) -> Simulated:
    values = yaml.safe_load((ROOT / "conf/data/simulated.yaml").read_text(encoding="utf-8"))
    del values["defaults"]
    return Simulated(**{**values, **changes})


def test_types_are_listed_and_counted(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(shown: Any) -> str:
        named = {"a": ["against_itself"], "bb": ["against_itself", "against_the_world", "rude"]}
        entries = [
            {"id": mark, "rationale": "So.", "types": named.get(text, []), "rating": 3}
            for mark, text in zip(shown.marks, shown.answers, strict=True)
        ]
        return json.dumps({"answers": entries})

    answered_in_json(monkeypatch, reply)
    made = annotate(feedback, true())
    assert made.verdicts["types"].to_list()[:2] == [["against_itself"], ["against_the_world", "against_itself"]]
    assert made.told["types"] == {"against_itself": 2, "against_the_world": 1}
    assert made.facts["unknown_types"] == 1


def test_a_critique_is_one_call_a_completion_with_a_score_to_ten(
    feedback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(shown: Any) -> str:
        [text], [mark] = shown.answers, shown.marks
        return json.dumps({"id": mark, "feedback": f"{text} is short.", "overall_score": 2 * len(text)})

    asked = answered_in_json(monkeypatch, reply)
    made = annotate(feedback, Annotator("critic", mock_judge(), form="critique"))
    assert len(asked) == 5
    assert made.columns["critic"].to_list() == [2.0, 4.0, None, 6.0, 8.0, 2.0]
    assert made.verdicts["rationale"].to_list() == [f"{text} is short." for text in RATING]
    assert (made.told["asked_for"], made.facts["with_value"]) == ("critique", 5)


def test_stored_words_are_read_again_and_older_files_have_none(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_in_json(monkeypatch, lambda shown: ratings_of(shown, RATING.__getitem__))
    first = annotate(feedback, true())
    kept = feedback.parent / "kept.parquet"
    first.verdicts.write_parquet(kept)
    replayed = Annotator("true", replay_judge(kept, max_failure_rate=0.5))
    again = annotate(feedback, replayed, path=kept)
    assert again.columns.equals(first.columns)
    assert again.verdicts.drop("order").equals(first.verdicts.drop("order"))
    assert again.told["not_applicable"] == 1
    first.verdicts.drop("rationale", "types").write_parquet(kept)
    assert annotate(feedback, replayed, path=kept).verdicts["rationale"].to_list() == [""] * 5


def test_a_rubric_of_the_users_is_what_is_asked_by(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from notus_exp.judging import json_questions

    path = feedback.parent / "kind.yaml"
    path.write_text("criterion: Is it kind?")
    criteria: list[str] = []
    asked = json_questions.json_question
    monkeypatch.setattr(
        "notus_exp.judging.rating_by_json.json_question",
        lambda shown, by: criteria.append(by.rubric.criterion) or asked(shown, by),
    )
    answered_in_json(monkeypatch, lambda shown: ratings_of(shown, lambda text: 3))
    annotate(feedback, Annotator("kind", mock_judge(), rubric="elsewhere.yaml", together=True), rubric=path)
    assert criteria == ["Is it kind?"] * 2
