"""Which settings give a node another key, and which leave what was made in place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notus_exp.config.schema import Stage
from notus_exp.run.asked_of_model import requirements
from notus_exp.run.nodes import Node, Sources
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from support.configs import composed
from support.expressions import choosing_by
from support.known_keys import ALL

NOWHERE = Sources(None, [], None, {}, {})


def planned(*overrides: str) -> dict[str, Node]:
    return {node.name: node for node in make_plan(composed("experiment=smoke", *overrides), NOWHERE)}


def moved(*overrides: str) -> set[str]:
    before, after = planned(), planned(*overrides)
    return {name for name in before if name in after and before[name].key != after[name].key}


SCORING = {"reference_scored", "likelihoods", "evaluation"}
ANSWERED = {"generations_verifiable", "likelihoods", "evaluation"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evaluation.preferences.max_prompts=7", SCORING),
        ("dpo.beta=0.3", {"policy", *ANSWERED}),
        ("selection=critique", {"pairs", "reference", "policy", *ANSWERED}),
        ("seed=3", {"pairs", "reference", "policy", *ANSWERED}),
        ("dpo.max_validation_pairs=5", {"reference", "policy", *ANSWERED}),
        ("evaluation.verifiable.kl_prompts=2", {"likelihoods", "evaluation"}),
        ("evaluation_split=validation", {*SCORING, "generations_verifiable_base", "generations_verifiable"}),
    ],
)
def test_a_setting_moves_what_it_changes_and_nothing_else(override: str, expected: set[str]) -> None:
    assert moved(override) == expected


def test_what_is_scored_depends_on_feedback_and_base_model_alone() -> None:
    nodes = planned()
    assert set(nodes["reference_scored"].inputs) == {"feedback", "base_model"}
    assert set(nodes["reference"].inputs) == {"feedback", "pairs", "base_model"}
    assert "reference" not in nodes["likelihoods"].inputs
    assert "reference_scored" not in nodes["policy"].inputs


def test_nothing_is_scored_without_preferences() -> None:
    nodes = planned("evaluation=[verifiable]")
    assert "reference_scored" not in nodes
    assert "reference" in nodes
    assert "reference_scored" not in nodes["likelihoods"].inputs


def test_training_needs_no_prompts_of_the_split_that_is_not_measured() -> None:
    without = planned("split.test=0", "until=policy")
    assert [*without] == ["feedback", "pairs", "base_model", "reference", "policy"]
    assert "reference_scored" in planned("until=policy"), "with such prompts a run keeps its nodes, and so its id"


def test_a_recipe_without_a_reference_plans_none_for_training_and_scores_all_the_same() -> None:
    nodes, usual = planned("dpo.loss_type=[sft]"), planned()
    assert "reference" not in nodes
    assert set(nodes["policy"].inputs) == {"feedback", "pairs", "base_model"}
    for name in ("reference_scored", "generations_verifiable_base"):
        assert nodes[name].key == usual[name].key
    assert "encoding" not in usual["policy"].settings
    shorter = planned("dpo.loss_type=[sft]", "dpo.max_validation_pairs=5")
    assert nodes["policy"].settings["encoding"] | {"max_validation_pairs": 5} == shorter["policy"].settings["encoding"]
    assert "reference" not in " ".join(planned("dpo.loss_type=[sft]", "evaluation=[verifiable]"))
    assert list(planned("dpo.loss_type=[sft]", "until=reference")) == [
        "feedback", "pairs", "base_model", "reference_scored",
    ]  # fmt: skip


def test_each_algorithm_plans_what_it_reads() -> None:
    for algorithm, referenced in (("kto", True), ("simpo", False), ("cpo", False), ("orpo", False)):
        nodes = planned(f"dpo.algorithm={algorithm}", "dpo.loss_type=[]", "dpo.batching=random")
        assert ("reference" in nodes) == ("reference" in nodes["policy"].inputs) == referenced
        assert nodes["policy"].settings["dpo"]["algorithm"] == algorithm
    assert "algorithm" not in planned()["policy"].settings["dpo"]
    kto = planned("dpo.algorithm=kto", "dpo.loss_type=[]", "dpo.batching=random")
    assert kto["reference"].key == planned()["reference"].key


def test_stopping_at_the_reference_makes_both_nodes() -> None:
    assert list(planned("until=reference")) == ["feedback", "pairs", "base_model", "reference", "reference_scored"]


def test_the_version_of_the_curations_rules_is_in_a_key_only_where_a_changed_rule_is_reached() -> None:
    repeats, benchmark = "filters.duplicate_responses=false", "filters.contamination.files=[c.txt]"
    assert "rules" not in planned()["pairs"].settings
    assert (
        "rules" not in planned("filters.duplicate_responses=false", "filters.identical_pairs=false")["pairs"].settings
    )
    assert planned(repeats)["pairs"].settings["rules"] == 2
    config = composed("experiment=smoke", benchmark)
    nodes = {node.name: node for node in make_plan(config, Sources(None, ["digest"], None, {}, {}))}
    assert nodes["pairs"].settings["rules"] == 2
    assert planned("pairs.per_prompt=2")["pairs"].settings["rules"] == 3
    for others in ("pairs=all_worse", "pairs.per_prompt=2 rejected=lowest", "pairs.per_prompt=1"):
        assert "rules" not in planned(*others.split())["pairs"].settings


def test_the_rule_of_duplicates_in_a_mix_is_in_the_key_of_mixes_that_leave_them_out_alone() -> None:
    mixed = ("selection=critique", "until=pairs", "data=mix", "data.sources=[{data: rated, path: x}]")
    assert planned(*mixed)["pairs"].settings["rules"] == 4
    assert "rules" not in planned(*mixed, "filters.duplicate_prompts=false")["pairs"].settings
    assert "rules" not in planned("data=rated", *mixed[:2], "data.path=x")["pairs"].settings


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Settings of the evaluations that read a file of prompts, each with one."""
    contents = {
        "alpaca_eval.prompts": {"instruction": "a", "output": "b"},
        "mt_bench.questions": {"question_id": 1, "category": "c", "turns": ["a"]},
        "ifeval.prompts": {"key": 1, "prompt": "a", "instruction_id_list": [], "kwargs": []},
    }
    for name, row in contents.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    return [*(f"evaluation.{name}={tmp_path / name}.jsonl" for name in contents), "evaluation.mt_bench.references=null"]


OF_MADE_DATA = {Stage.responses}
"""Stages that only data has which is made here."""


@pytest.mark.parametrize("until", [stage.name for stage in Stage if stage not in OF_MADE_DATA])
def test_any_last_stage_goes_with_any_evaluation(files: list[str], tmp_path: Path, until: str) -> None:
    tasks = "evaluation.lm_eval.tasks=[arc_easy]"
    (tmp_path / "scores.csv").write_text("row,completion,score\n0,0,1\n")
    scores = f"scores=[{{path: '{tmp_path}/scores.csv', name: armorm}}]"
    config = composed("experiment=smoke", f"evaluation=[{ALL},lm_eval]", "judge=mock", tasks, scores,
                      "annotators=[{name: helpful, rubric: helpfulness}]", "sft=chosen",
                      *choosing_by("armorm + helpful"), *files, f"until={until}")  # fmt: skip
    planned = make_plan(config, resolve(config))
    last = Stage.evaluation if until == "config" else Stage[until]
    assert planned[-1].stage is last
    assert {node.stage for node in planned} == {
        stage for stage in Stage if 1 < stage.value <= last.value
    } - OF_MADE_DATA


def test_what_ends_before_judging_needs_no_judge(files: list[str]) -> None:
    config = composed("experiment=smoke", "evaluation=[alpaca_eval]", "judge=openai", "until=policy", files[0])
    assert make_plan(config, resolve(config))[-1].name == "policy"


@pytest.mark.parametrize(
    ("until", "answers", "trains"), [("reference", False, False), ("policy", False, True), ("evaluation", True, True)]
)
def test_a_model_is_asked_for_what_the_last_stage_needs_of_it(
    files: list[str], until: str, *, answers: bool, trains: bool
) -> None:
    config = composed("experiment=smoke", "judge=mock", "evaluation=[alpaca_eval]", files[0], f"until={until}")
    asked = requirements(config)
    assert bool(asked.new_tokens) == answers
    assert bool(asked.target_modules) == trains
    assert asked.max_truncated == (config.dpo.max_truncated if trains else 1.0)
