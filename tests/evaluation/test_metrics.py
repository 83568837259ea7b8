"""The names that a study may use before anything ran are those that runs report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk.files import EVENTS, METRICS
from notus_exp.errors import UserError
from notus_exp.evaluation.kit.description import Metric
from notus_exp.evaluation.metrics import (
    check_margin,
    headlines,
    is_known,
    known_metrics,
    metric_of,
    named_headlines,
    without_score,
)
from notus_exp.evaluation.preferences.spec import expected_labellings
from notus_exp.training.measures import training_metrics
from support.configs import composed
from support.pipelines import place, record, run

OF_POLICY = ("base/", "difference/")


@pytest.mark.parametrize("changes", [[], ["evaluation_split=validation", "evaluation.verifiable.prompts=4"]])
def test_what_is_known_before_is_what_a_run_reports(tmp_path: Path, changes: list[str]) -> None:
    content = record(run(tmp_path, "experiment=smoke", *changes))
    metrics = json.loads((place(content, "evaluation") / METRICS).read_text())
    reported = {name for name in metrics if not name.startswith(OF_POLICY)}
    known = set(known_metrics(composed("experiment=smoke", *changes)))
    assert known <= reported
    # with four prompts a kind that only a second constraint has cannot be known
    assert all(name.startswith("verifiable/kind/") for name in reported - known)
    assert len(reported - known) <= (3 if changes else 0)
    events = [json.loads(line) for line in (place(content, "policy") / EVENTS).read_text().splitlines()]
    emitted = {f"{event['stage']}/{name}" for event in events for name in event["metrics"] if "validation/" in name}
    assert emitted == set(training_metrics())
    assert content["config"]["evaluation_split"] == ("validation" if changes else "test")


RATED_ALONE = "data.mapping.completions=[{text: a, ratings: {a: b}}]"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["data=simulated", "data.aspects=[honesty]"],
            ["critique", "critique_repaired", "average", "honesty", "latent"],
        ),
        (["data=rated", "data.aspects=[a,b]"], ["critique", "critique_repaired", "average", "a", "b"]),
        (["data=rated", "data.aspects=[a]", "data.overall_column=null"], ["average", "a"]),
        (["data=pairs", "selection=critique"], ["critique"]),
        (["data=trl", "selection=critique"], ["critique"]),
        (["data=helpsteer2", "data.aspects=[a]", RATED_ALONE], ["average", "a"]),
    ],
)
def test_labellings_are_those_that_the_data_can_have(overrides: list[str], expected: list[str]) -> None:
    agreed = ["agreed"] if len(expected) > 1 else []
    assert expected_labellings(composed(*overrides).data) == [*expected, *agreed]


def test_the_true_quality_alone_has_nobody_to_agree_with() -> None:
    found = known_metrics(composed("data.aspects=[]", "selection=critique", "evaluation=[preferences]"))
    assert "preferences/accuracy/latent" in found
    assert "preferences/accuracy/agreed" not in found


def test_length_control_is_known_where_difficulties_are_given() -> None:
    judged = ["evaluation=[alpaca_eval]", "judge=mock"]
    assert "alpaca_eval/length_adjusted_win_rate" not in known_metrics(composed(*judged))
    given = composed(*judged, "evaluation.alpaca_eval.difficulty=d.csv")
    assert "alpaca_eval/length_adjusted_win_rate" in known_metrics(given)


def test_names_that_only_a_file_tells_are_known_by_their_beginning() -> None:
    known = known_metrics(composed("evaluation=[mt_bench,ifeval,lm_eval]", "judge=mock"))
    for name in ("mt_bench/category/math", "ifeval/kind/length/strict", "lm_eval/hellaswag/acc", "mt_bench/turn_2"):
        assert is_known(name, known), name
    for name in ("mt_bench/turn", "mt_bench/category/", "ifeval/strict", "preferences/accuracy/average", "lm_eval"):
        assert not is_known(name, known), name


def span(name: str) -> tuple[float, float] | None:
    return metric_of(name).span


def unit(name: str) -> str:
    return metric_of(name).unit


def test_spans_and_units_of_metrics() -> None:
    assert span("preferences/accuracy/honesty") == (0, 1)
    assert span("verifiable/kind/no_comma") == (0, 1)
    assert span("verifiable/tokens") is None
    assert metric_of("alpaca_eval/win_rate").difference_span() == (-100, 100)
    # a base model has 0.5
    assert metric_of("preferences/accuracy/average").difference_span(base=True) == (-0.5, 0.5)
    assert metric_of("preferences/likelihood_accuracy/average").difference_span(base=True) == (-1, 1)
    assert metric_of("preferences/margin/average").difference_span(base=True) is None
    assert (unit("alpaca_eval/win_rate"), unit("verifiable/strict"), unit("mt_bench/coverage")) == ("points", "", "")


def test_what_a_page_says_of_a_metric_has_the_unit_that_words_have() -> None:
    labels = {
        "verifiable/kl_per_token": "nats a token",
        "verifiable/kind/bullets": "share of prompts",
        "preferences/accuracy/average": "share of pairs ordered rightly",
        "preferences/margin/average": "reward units",
        "alpaca_eval/win_rate": "points (% of prompts won)",
        "lm_eval/arc/acc": "",
    }
    for name, label in labels.items():
        assert metric_of(name).label == label, name
        assert metric_of(name).unit in label


def test_headlines_come_in_reading_order_and_open_families_last_known() -> None:
    names = ["lm_eval/arc/acc", "verifiable/strict", "verifiable/words", "preferences/accuracy/average", "other/x"]
    assert headlines(names) == ["preferences/accuracy/average", "lm_eval/arc/acc", "verifiable/strict"]
    assert headlines(names, open_families=False) == ["preferences/accuracy/average", "verifiable/strict"]
    assert named_headlines()[:2] == ["preferences/accuracy/average", "preferences/accuracy/critique"]
    assert metric_of("other/x").unit == metric_of("other/x").label == ""


@pytest.mark.parametrize(("digits", "shown"), [(0, 0), (1, 1), (2, 2), (3, 4), (5, 6)])
def test_a_difference_of_small_values_has_a_digit_more(digits: int, shown: int) -> None:
    assert Metric("any", digits=digits).digits_of_difference == shown


def value(number: float | None) -> dict[str, Any]:
    return {"value": number, "low": None, "high": None, "n": 3}


def test_an_evaluation_without_any_value_that_leads_it_has_no_score() -> None:
    asked = composed(
        "experiment=smoke",
        "evaluation=[alpaca_eval,preferences]",
        "judge=mock",
        "evaluation.alpaca_eval.prompts=a.json",
    ).evaluation
    preferences = {"preferences/accuracy/honesty": value(0.5)}
    both = {**preferences, "alpaca_eval/win_rate": value(50.0)}
    assert without_score(asked, both, []) == {}
    note = "alpaca_eval is not reported: too many failed"
    assert without_score(asked, preferences, ["another note", note]) == {"alpaca_eval": note}
    empty = {**preferences, "alpaca_eval/win_rate": value(None), "alpaca_eval/characters": value(3.0)}
    assert without_score(asked, empty, []) == {"alpaca_eval": "alpaca_eval has no value on any of its prompts"}
    of_base = {**preferences, "base/alpaca_eval/win_rate": value(50.0)}
    assert list(without_score(asked, of_base, [])) == ["alpaca_eval"]


def test_a_margin_within_which_all_values_lie_is_refused() -> None:
    for metric, margin in (("verifiable/strict", 1.0), ("alpaca_eval/win_rate", 100), ("mt_bench/score", 9)):
        with pytest.raises(UserError, match="any two models would be equivalent"):
            check_margin(metric, margin, "study.margin")
        check_margin(metric, 0.9 * margin, "study.margin")
    check_margin("verifiable/tokens", 1e6, "study.margin")
