"""The names that a study may use before anything ran are those that runs report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notus_exp.disk.files import EVENTS, METRICS
from notus_exp.evaluation.metrics import is_known, known_metrics, labellings, training_metrics
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
    ],
)
def test_labellings_are_those_that_the_data_can_have(overrides: list[str], expected: list[str]) -> None:
    agreed = ["agreed"] if len(expected) > 1 else []
    assert labellings(composed(*overrides).data) == [*expected, *agreed]


def test_the_true_quality_alone_has_nobody_to_agree_with() -> None:
    found = known_metrics(composed("data.aspects=[]", "selection=critique", "evaluation=[preferences]"))
    assert "preferences/accuracy/latent" in found
    assert "preferences/accuracy/agreed" not in found


def test_length_control_is_known_where_difficulties_are_given() -> None:
    judged = ["evaluation=[alpaca_eval]", "judge=mock"]
    assert "alpaca_eval/length_controlled_win_rate" not in known_metrics(composed(*judged))
    given = composed(*judged, "evaluation.alpaca_eval.difficulty=d.csv")
    assert "alpaca_eval/length_controlled_win_rate" in known_metrics(given)


def test_names_that_only_a_file_tells_are_known_by_their_beginning() -> None:
    known = known_metrics(composed("evaluation=[mt_bench,ifeval,lm_eval]", "judge=mock"))
    for name in ("mt_bench/category/math", "ifeval/kind/length/strict", "lm_eval/hellaswag/acc", "mt_bench/turn_2"):
        assert is_known(name, known), name
    for name in ("mt_bench/turn", "mt_bench/category/", "ifeval/strict", "preferences/accuracy/average", "lm_eval"):
        assert not is_known(name, known), name
