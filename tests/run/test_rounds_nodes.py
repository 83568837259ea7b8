"""The nodes of several rounds: what is made anew in each, what it begins with, and what all are measured by."""

from __future__ import annotations

import pytest

from notus_exp.config.schema import Stage
from notus_exp.errors import UserError
from notus_exp.run.execution import in_order
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.stages.settings import WRITTEN
from support.configs import composed
from support.plans import fixed_sources

WRITERS = "data.writers=[{name: own}, {name: other, model: ./elsewhere}, {name: weak, simulated: 0.3}]"
MADE = [
    "experiment=smoke",
    "data=made",
    "data.prompts.prompts=50",
    "data.judge={judge: mock}",
    "data.per_prompt=2",
    WRITERS,
]


def nodes(*overrides: str, until: str = "evaluation") -> dict[str, Node]:
    config = composed(*MADE, *overrides, f"until={until}")
    return {node.name: node for node in make_plan(config, fixed_sources(config))}


def keys(plan: dict[str, Node]) -> set[str]:
    return {node.key for node in plan.values()}


@pytest.fixture(scope="module")
def two() -> dict[str, Node]:
    return nodes("rounds=2")


def test_each_round_has_nodes_of_its_own_and_what_all_share_is_there_once(two: dict[str, Node]) -> None:
    one = nodes()
    shared = {"instructions", "base_model", "base_model_other", "reference_scored", "generations_verifiable_base"}
    own = set(one) - shared
    assert {f"round1_{name}" for name in own} | shared | own | {"round1_merged", "merged"} == set(two)
    of_feedback = {"reference_scored", "generations_verifiable_base"}  # which has a part of the prompts alone
    assert all(two[name].key == one[name].key for name in shared - of_feedback)
    assert len(keys(two)) == len(two)


def test_the_second_round_goes_on_from_the_policy_of_the_first(two: dict[str, Node]) -> None:
    merged = two["round1_merged"]
    assert (merged.stage, merged.inputs["policy"]) == (Stage.base_model, two["round1_policy"].key)
    assert merged.settings["merged_in"] == "float32"
    for name in ("policy", "reference", "responses_own"):
        assert two[name].inputs["base_model"] == merged.key
        assert two[f"round1_{name}"].inputs["base_model"] == two["base_model"].key
    assert two["responses_other"].inputs["base_model"] == two["base_model_other"].key
    assert two["policy"].inputs["pairs"] == two["pairs"].key
    assert two["pairs"].inputs["feedback"] == two["feedback"].key != two["round1_feedback"].key


def test_every_round_is_measured_against_the_first_base_on_the_first_feedback(two: dict[str, Node]) -> None:
    for before, policy in (("round1_", "round1_policy"), ("", "merged")):
        answers = two[f"{before}generations_verifiable"]
        assert answers.inputs == {
            "base_model": two["base_model"].key, "feedback": two["round1_feedback"].key, "policy": two[policy].key
        }  # fmt: skip
        evaluation = two[f"{before}evaluation"]
        assert evaluation.inputs["feedback"] == two["round1_feedback"].key
        assert evaluation.inputs["generations_verifiable_base"] == two["generations_verifiable_base"].key
        assert two[f"{before}likelihoods"].inputs["reference_scored"] == two["reference_scored"].key
    assert two["reference_scored"].inputs["feedback"] == two["round1_feedback"].key
    assert two["reference_scored"].inputs["base_model"] == two["base_model"].key


@pytest.mark.parametrize(
    ("overrides", "policy", "reference", "writer", "measured"),
    [
        ([], "round1_merged", "round1_merged", "round1_merged", "merged"),
        (["rounds.start=base"], "base_model", "round1_merged", "round1_merged", "policy"),
        (["rounds.reference=base"], "round1_merged", "base_model", "round1_merged", "merged"),
        (["rounds.writers=base"], "round1_merged", "round1_merged", "base_model", "merged"),
        (
            ["rounds.start=base", "rounds.reference=base", "rounds.writers=base"],
            *("base_model", "base_model", "base_model", "policy"),
        ),
    ],
)
def test_what_a_later_round_begins_with_is_chosen(
    overrides: list[str], policy: str, reference: str, writer: str, measured: str
) -> None:
    found = nodes("rounds=2", *overrides)
    begun = [found[name].inputs["base_model"] for name in ("policy", "reference", "responses_own")]
    assert begun == [found[policy].key, found[reference].key, found[writer].key]
    assert found["generations_verifiable"].inputs["policy"] == found[measured].key
    assert ("round1_merged" in found) is ("round1_merged" in (policy, reference, writer)), "nothing is merged in vain"


@pytest.mark.parametrize("setting", ["start=base", "reference=base", "writers=base", "prompts=same"])
def test_every_setting_of_a_round_moves_the_last_policy(two: dict[str, Node], setting: str) -> None:
    moved = nodes("rounds=2", f"rounds.{setting}")
    assert moved["policy"].key != two["policy"].key
    assert (moved["round1_policy"].key == two["round1_policy"].key) is (setting != "prompts=same")


def test_no_round_changes_one_before_it(two: dict[str, Node]) -> None:
    three = nodes("rounds=3", "rounds.prompts=same")
    same = nodes("rounds=2", "rounds.prompts=same")
    earlier = {name: node.key for name, node in three.items() if name.startswith("round1_")}
    assert all(same[name].key == key for name, key in earlier.items())
    alone = nodes()
    assert all(alone[name.removeprefix("round1_")].key == key for name, key in earlier.items() if "merged" not in name)
    assert three["round2_policy"].key == same["policy"].key
    assert three["policy"].inputs["base_model"] == three["round2_merged"].key


def test_a_supervised_training_is_before_all_rounds_and_their_first_base() -> None:
    found = nodes("rounds=2", "sft=chosen")
    assert found["sft"].inputs["pairs"] == found["round1_pairs"].key
    assert found["round1_policy"].inputs["base_model"] == found["sft"].key
    assert found["generations_verifiable"].inputs["base_model"] == found["sft"].key
    assert found["round1_merged"].inputs["base_model"] == found["sft"].key
    assert found["responses_own"].inputs["base_model"] == found["round1_merged"].key


def test_rounds_sample_by_seeds_of_their_own(two: dict[str, Node]) -> None:
    seeds = {two[f"{before}{WRITTEN}{name}"].settings["seed"] for before in ("round1_", "") for name in ("own", "weak")}
    assert len(seeds) == 4


def test_stopping_early_stops_in_the_last_round() -> None:
    found = nodes("rounds=2", until="pairs")
    assert {"round1_policy", "round1_merged", "pairs"} <= set(found)
    assert not {"policy", "merged", "round1_evaluation", "evaluation"} & set(found)
    assert "merged" not in nodes("rounds=2", until="policy")


def test_a_worker_makes_a_merged_model_after_its_policy(two: dict[str, Node]) -> None:
    names = [node.name for node in in_order([*two.values()])]
    assert names.index("base_model_other") < names.index("instructions"), "base models come first"
    assert names.index("round1_policy") < names.index("round1_merged") < names.index("responses_own")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["rounds=2", "data=simulated"], "data=simulated has its answers"),
        (["rounds=2", "data.writers=[{name: a, simulated: 0.1}, {name: b, simulated: 0.2}]"], "the run's own model"),
        (["rounds.start=base"], "rounds.start=base is of a second round"),
        (["rounds=0"], "rounds.number"),
        (["rounds=2", "rounds.start=first"], "rounds.start=first is not an option"),
        (["rounds=2", "dpo=kto", "rounds.reference=base"], "dpo.algorithm=kto computes its reference"),
        (["rounds=2", "generation=vllm"], "generation=vllm"),
    ],
)
def test_what_has_no_second_round_is_refused(overrides: list[str], said: str) -> None:
    given = [one for one in MADE if not (one.startswith("data") and "data=simulated" in overrides)]
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        composed(*given, *overrides)


def test_another_writer_stays_what_it_is_though_it_is_the_runs_model_too() -> None:
    pool = "data.writers=[{name: own}, {name: fixed, model: tiny_random}, {name: weak, simulated: 0.3}]"
    found = nodes("rounds=2", pool)
    assert found["responses_fixed"].inputs["base_model"] == found["base_model"].key
    assert found["responses_own"].inputs["base_model"] == found["round1_merged"].key


def test_the_own_model_as_it_began_is_the_supervised_one_in_a_later_round() -> None:
    found = nodes("rounds=2", "sft=chosen", "rounds.writers=base")
    assert found["responses_own"].inputs["base_model"] == found["sft"].key
    assert found["round1_responses_own"].inputs["base_model"] == found["base_model"].key


@pytest.mark.parametrize("recipe", ["dpo=simpo", "dpo=orpo", "dpo=sft"])
def test_a_reference_that_no_recipe_reads_is_refused(recipe: str) -> None:
    composed(*MADE, "rounds=2", recipe)
    with pytest.raises(UserError, match=r"rounds\.reference=base is not read"):
        composed(*MADE, "rounds=2", recipe, "rounds.reference=base")


def test_curation_of_a_part_trains_on_nothing_that_is_held_out(two: dict[str, Node]) -> None:
    assert two["pairs"].settings["part"] is two["round1_pairs"].settings["part"] is True
    same = nodes("rounds=2", "rounds.prompts=same")
    assert "part" not in same["round1_pairs"].settings and same["pairs"].settings["part"] is True
