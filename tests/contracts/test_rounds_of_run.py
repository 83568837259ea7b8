"""A run of several rounds, read as if one of them were all of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from notus_exp.contracts.rounds_of_run import earlier_node, evaluated_feedback, number_of_rounds, of_round, parsed_node
from notus_exp.contracts.run_file import RunFile


def stage(key: str, **inputs: str) -> dict[str, Any]:
    return {"key": key, "inputs": inputs}


@pytest.fixture
def run() -> RunFile:
    value = {"value": 1.0, "low": None, "high": None, "n": 1}
    names = ["instructions", "round1_feedback", "round1_policy", "round2_feedback", "round2_policy", "feedback"]
    stages = {name: stage(name) for name in names} | {"evaluation": stage("last", feedback="round1_feedback")}
    content: Any = {
        "status": "finished",
        "config": {"rounds": {"number": 3}},
        "stages": stages,
        "metrics": {"a": value},
        "unscored": {"mt_bench": "why"},
        "rounds": [{"round": 1, "metrics": {"a": {**value, "value": 0.5}}}],
    }
    return cast(RunFile, content)


def test_a_nodes_name_tells_its_round() -> None:
    assert parsed_node(earlier_node(12, "annotations_x")) == (12, "annotations_x")
    assert parsed_node("rounds_of_mine") == (None, "rounds_of_mine")
    assert parsed_node("policy") == (None, "policy")


def test_a_round_has_its_own_nodes_and_the_shared_ones_and_no_others(run: RunFile) -> None:
    first = of_round(run, 1)
    assert {name: one["key"] for name, one in first["stages"].items()} == {
        "instructions": "instructions", "feedback": "round1_feedback", "policy": "round1_policy",
    }  # fmt: skip
    assert first["metrics"]["a"]["value"] == 0.5
    assert first["unscored"] == {}
    second = of_round(run, 2)
    assert second["metrics"] == {}, "it was not evaluated"
    assert second["stages"]["policy"]["key"] == "round2_policy"
    assert second["stages"]["round1_policy"]["key"] == "round1_policy", "what it was trained from"
    assert of_round(run, 3) is run


def test_what_is_evaluated_on_is_the_feedback_that_the_evaluation_read(run: RunFile) -> None:
    assert evaluated_feedback(run) == "round1_feedback"
    del run["stages"]["evaluation"]
    assert evaluated_feedback(run) == "feedback"


def test_a_run_from_before_there_were_rounds_has_one() -> None:
    assert number_of_rounds(cast(RunFile, {"status": "finished", "config": {}})) == 1
    assert number_of_rounds(cast(RunFile, {"status": "running"})) == 1
