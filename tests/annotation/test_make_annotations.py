"""Annotators whose answers are known: columns, leanings and counts are what these answers give, computed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.annotation import make_annotations
from notus_exp.config.annotator_settings import Annotator
from notus_exp.contracts.curation_file import read_curation
from notus_exp.curation import make_pairs
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import ANNOTATIONS, ANNOTATOR_JSON, COLUMNS, COMPLETIONS, CURATION_JSON, PAIRS
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.judging.judge import grade
from notus_exp.judging.verdicts import Grading
from notus_exp.stages.context import Context
from notus_exp.stages.settings import AnnotationsSettings
from support.curation_tables import completion, prompt, settings, table, texts
from support.judges import mock_judge, openai_judge, replay_judge, reward_judge
from support.known_judges import always_first, by_quality, judged_by, longer
from support.recipes import machine
from support.reward_models import save_reward_model

LETTERS = {"parser": "letters"}


@pytest.fixture
def feedback(tmp_path: Path) -> Path:
    """Two prompts: of three completions of 1, 2 and 3 letters and of two, of which the shorter is the better one."""
    made = table(
        prompt("A?", completion("a", model="one"), completion("bb", model="org/Judge"), completion("ccc", model="two")),
        prompt("B?", completion("dddd", model="one"), completion("e", model="two")),
    )
    quality = pl.Series("latent_quality", [3.0, 2.0, 1.0, 0.0, 5.0])
    folder = tmp_path / "feedback"
    folder.mkdir()
    made.with_columns(quality).write_parquet(folder / COMPLETIONS)
    return folder


QUALITY = {"a": 3.0, "bb": 2.0, "ccc": 1.0, "dddd": 0.0, "e": 5.0}


class Made:
    """What the stage wrote."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.columns = pl.read_parquet(out / COLUMNS)
        self.verdicts = pl.read_parquet(out / ANNOTATIONS)
        self.told = json.loads((out / ANNOTATOR_JSON).read_text())


def annotate(feedback: Path, annotator: Annotator, **sources: Path) -> Made:
    out = feedback.parent / "out"
    out.mkdir(exist_ok=True)
    context = Context(EventWriter("annotations", out / "events.jsonl"), machine(), feedback.parent / "cache")
    context.cache.mkdir(exist_ok=True)
    context.annotators = {annotator.name: annotator}
    context.ledger = Ledger(out / "ledger.jsonl")
    context.sources = {f"annotators.{annotator.name}.{setting}": [str(path)] for setting, path in sources.items()}
    spec = AnnotationsSettings(annotator.name, {}, {}, annotator.rubric, annotator.scale, annotator.pairs)
    return Made(out, make_annotations.run(spec, {"feedback": feedback}, out, context))


def pairs(**changes: Any) -> Annotator:
    return Annotator("duel", mock_judge(**changes), pairs=True)


def rated(**changes: Any) -> Annotator:
    return Annotator("rated", mock_judge(**changes), rubric="helpfulness")


# ---------------------------------------------------------------------------------------------------------------- pairs
@pytest.mark.parametrize("parser", ["letters", "ranking"])
def test_a_judge_that_prefers_the_longer_gives_shares_by_length_and_is_said_to(
    feedback: Path, monkeypatch: pytest.MonkeyPatch, parser: str
) -> None:
    asked = judged_by(monkeypatch, longer)
    made = annotate(feedback, pairs(parser=parser))
    assert made.columns.rows() == [(0, 0, 0.0), (0, 1, 0.5), (0, 2, 1.0), (1, 0, 1.0), (1, 1, 0.0)]
    assert made.columns.schema == {"row": pl.Int64, "completion": pl.Int64, "duel": pl.Float64}
    assert len(asked) == made.facts["verdicts"] == 2 * (3 + 1)
    assert made.told["longer_preferred"]["value"] == 1.0
    assert made.told["first_preferred"]["value"] == 0.5
    assert made.told["contradicting"]["value"] == 0.0


def test_a_judge_that_always_prefers_the_first_shown_prefers_nothing(
    feedback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(monkeypatch, always_first)
    made = annotate(feedback, pairs(**LETTERS))
    assert made.columns["duel"].to_list() == [0.5] * 5, "its two orders contradict each other: all are ties"
    assert made.told["first_preferred"]["value"] == 1.0
    assert made.told["contradicting"]["value"] == 1.0
    assert made.told["longer_preferred"] == {"value": None, "low": None, "high": None, "n": 0}


def test_a_judge_that_knows_the_quality_orders_by_it(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(monkeypatch, by_quality(QUALITY))
    made = annotate(feedback, pairs(model="judge", **LETTERS))
    assert made.columns["duel"].to_list() == [1.0, 0.5, 0.0, 0.0, 1.0]
    assert made.told["longer_preferred"]["value"] == 0.0
    own = made.told["self_preference"]
    assert (own["model"], own["beside"], own["won"]["value"]) == ("judge", "gold", 0.5)
    assert own["excess"]["value"] == 0.0, "as good as it truly is"


def test_a_judge_that_prefers_what_its_model_wrote_is_said_to(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(
        monkeypatch, lambda first, second: "second" if second == "bb" else "first" if first == "bb" else "neither"
    )
    made = annotate(feedback, pairs(model="judge", **LETTERS))
    assert made.columns["duel"].to_list() == [0.25, 1.0, 0.25, 0.5, 0.5]
    own = made.told["self_preference"]
    assert (own["won"]["value"], own["excess"]["value"]) == (1.0, 0.5)


def test_both_orders_decide_a_comparison() -> None:
    import numpy as np

    nan = np.nan
    first = np.array([2.0, 1.0, 2.0, 1.0, 1.5, 2.0, 1.2, nan, 2.0])
    second = np.array([2.0, 1.0, 1.0, 2.0, 1.5, 1.5, 1.4, 2.0, nan])
    found = make_annotations.both_orders(first, second)
    assert found[:7].tolist() == [1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0]
    assert np.isnan(found[7:]).all()


def test_equal_texts_are_a_tie_and_empty_ones_have_no_value_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged_by(monkeypatch, longer)
    made = table(prompt("A?", completion("a"), completion("a"), completion(" ")), prompt("B?", completion("c")))
    made.write_parquet(tmp_path / COMPLETIONS)
    found = annotate(tmp_path, pairs(**LETTERS))
    assert found.columns["duel"].to_list() == [0.5, 0.5, None, None], "one alone is compared with nothing"
    assert asked == []
    assert found.told["not_asked"] == 1


# -------------------------------------------------------------------------------------------------------------- ratings
def test_ratings_are_the_column_and_what_holds_none_is_missing_and_counted(
    feedback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"a": "[[5]]", "bb": "[[2]]", "ccc": "It is good.", "dddd": "[[7]]", "e": "[[4.5]]"}
    asked = judged_by(monkeypatch, rating=said.__getitem__)
    made = annotate(feedback, rated(max_failure_rate=0.5))
    assert made.columns["rated"].to_list() == [5.0, 2.0, None, None, 4.5]
    assert (made.facts["verdicts"], made.facts["failed"], made.told["with_value"]) == (5, 2, 3)
    assert made.told["reasons"] == {"no rating in square brackets": 1, "the rating 7 is not between 1 and 5": 1}
    assert made.verdicts["raw"].to_list() == list(said.values())
    assert "a whole number from 1 to 5" in asked[0][0]["content"]
    assert made.told["first_preferred"] is None


def test_too_many_failures_end_the_stage_and_say_why(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(monkeypatch, rating=lambda answer: "No idea." if answer == "e" else "[[3]]")
    with pytest.raises(UserError, match=r"1 of 5 verdicts of 'rated' failed.*no rating in square brackets") as caught:
        annotate(feedback, rated())
    assert "ask_again: 1" in caught.value.hint
    assert "ask_again: 3," in make_annotations.asking_again(openai_judge(ask_again=2)), "once more than it was"


def test_what_was_asked_is_not_asked_again_and_costs_count_once(
    feedback: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged_by(monkeypatch, rating=lambda answer: "[[3]]")
    prices = {"input_price": 10.0, "output_price": 100.0}
    first = annotate(feedback, rated(**prices))
    again = annotate(feedback, rated(**prices))
    assert len(asked) == 5
    assert (first.facts["cost"], again.facts["cost"]) == (pytest.approx(5 * 0.002), 0.0)
    assert first.told["usd"] == again.told["usd"] == pytest.approx(0.01)
    assert first.told["tokens"] == 5 * 110


def test_the_budget_of_the_run_holds(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(monkeypatch, rating=lambda answer: "[[3]]")
    with pytest.raises(UserError, match=r"annotators.rated.budget=0.02 USD"):
        annotate(feedback, rated(input_price=10.0, output_price=100.0, budget=0.02, concurrency=1, max_tokens=10))


def test_a_template_of_the_users_rates_on_its_own_scale(
    feedback: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged_by(monkeypatch, rating=lambda answer: "[[90]]")
    template = tmp_path / "mine.j2"
    template.write_text("Rate 0-100.\n{{ instruction }}\n=== Answer ===\n{{ response }}\n=== End")
    annotator = Annotator("mine", mock_judge(template=str(template)), scale=[0.0, 100.0])
    made = annotate(feedback, annotator, template=template)
    assert made.columns["mine"].to_list() == [90.0] * 5
    assert asked[0][0]["content"] == "Rate 0-100.\nA?\n=== Answer ===\na\n=== End"


def test_earlier_turns_and_the_system_turn_of_a_conversation_are_part_of_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged_by(monkeypatch, longer, rating=lambda answer: "[[3]]")
    made = table(
        prompt("And now?", completion("x"), completion("yy"), principle="conversation", system_prompt="Be brief.")
    )
    turns = [{"role": "user", "content": "First?"}, {"role": "assistant", "content": "Yes."}]
    made.with_columns(context=pl.Series([turns, turns])).write_parquet(tmp_path / COMPLETIONS)
    annotate(tmp_path, rated())
    annotate(tmp_path, pairs(**LETTERS))
    for messages in (asked[0], asked[-1]):
        assert "User: Be brief.\n\nFirst?\n\nAssistant: Yes.\n\nUser: And now?" in messages[0]["content"]


# --------------------------------------------------------------------------------------------------------------- replay
@pytest.mark.parametrize("annotator", [rated(), pairs(**LETTERS)])
def test_stored_verdicts_give_the_same_column(
    feedback: Path, monkeypatch: pytest.MonkeyPatch, annotator: Annotator
) -> None:
    judged_by(monkeypatch, longer, rating=lambda answer: f"[[{len(answer)}]]")
    first = annotate(feedback, annotator)
    kept = feedback.parent / "kept.parquet"
    first.verdicts.write_parquet(kept)
    replayed = Annotator(annotator.name, replay_judge(kept), pairs=annotator.pairs)
    again = annotate(feedback, replayed, path=kept)
    assert again.columns.equals(first.columns)
    assert again.verdicts.equals(first.verdicts)
    first.verdicts.head(4).write_parquet(kept)
    with pytest.raises(UserError, match="no stored verdict"):
        annotate(feedback, replayed, path=kept)


def test_stored_verdicts_of_the_other_kind_or_without_a_key_are_refused(tmp_path: Path) -> None:
    from notus_exp.annotation.stored import read_stored

    path = tmp_path / "a.parquet"
    pl.DataFrame({"prompt_id": ["x"], "row": [0], "completion": [0], "value": [1.0]}).write_parquet(path)
    assert read_stored(path, pairs=False).height == 1
    with pytest.raises(UserError, match="no column 'other'"):
        read_stored(path, pairs=True)
    path.write_text("no parquet")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        read_stored(path, pairs=False)


# ---------------------------------------------------------------------------------------------- reward models, curation
def test_a_reward_model_gives_the_score_of_each_conversation(
    feedback: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    folder = save_reward_model(tmp_path / "reward", tiny_model_folder)
    made = annotate(feedback, Annotator("scored", reward_judge(folder)))
    shown = pl.read_parquet(feedback / COMPLETIONS).select("instruction", "response").rows()
    gradings = [Grading("", 1, "", (question,), (answer,), ()) for question, answer in shown]
    expected = grade(gradings, reward_judge(folder), tmp_path / "unused").verdicts
    assert made.columns["scored"].to_list() == [verdict.value for verdict in expected]
    assert made.columns["scored"].n_unique() == 5
    assert (made.told["asked_for"], made.told["judge"]) == ("score", {"name": "reward_model", "model": "reward"})


def test_pairs_are_chosen_by_what_an_annotator_says_and_the_report_tells_of_it(
    feedback: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(monkeypatch, by_quality(QUALITY))
    annotate(feedback, pairs(**LETTERS))
    spec = replace(settings("expression", score="duel"), columns=["duel"])
    out = tmp_path / "pairs"
    out.mkdir()
    inputs = {"feedback": feedback, "annotations_duel": feedback.parent / "out"}
    make_pairs.run(spec, inputs, out, Context(EventWriter("pairs", out / "events.jsonl"), machine(), tmp_path))
    assert texts(pl.read_parquet(out / PAIRS)) == [("a", "ccc"), ("e", "dddd")]
    found = read_curation(out / CURATION_JSON)["annotators"]
    assert found["labellings"] == ["duel", "gold"]
    assert found["alpha"] == [[1.0, 1.0], [1.0, 1.0]]
    [one] = found["annotators"]
    assert one["agrees_with_gold"] is not None and one["agrees_with_gold"]["value"] == 1.0
    assert one["told"]["name"] == "duel"
