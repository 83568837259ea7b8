"""The nodes of data that is made here, and what is in their keys."""

from __future__ import annotations

import pytest

from notus_exp.config.schema import Config, Stage
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from support.configs import composed
from support.plans import fixed_sources

FAR = "{name: far, base_url: 'http://127.0.0.1:1/v1', model: big}"
WRITERS = f"data.writers=[{{name: own}}, {{name: hot, temperature: 2.0}}, {{name: weak, simulated: 0.3}}, {FAR}]"
MADE = ["experiment=smoke", "data=made", "data.prompts.prompts=50", "data.judge={judge: mock}"]


def nodes(*overrides: str, until: str = "pairs") -> dict[str, Node]:
    config = composed(*MADE, WRITERS, *overrides, f"until={until}")
    return {node.name: node for node in make_plan(config, fixed_sources(config))}


@pytest.fixture(scope="module")
def plan() -> dict[str, Node]:
    return nodes()


def test_prompts_answers_ratings_and_the_whole_are_nodes_of_their_own(plan: dict[str, Node]) -> None:
    names = [*plan]
    begin = ["instructions", "base_model", "responses_own", "responses_hot", "responses_weak", "responses_far"]
    assert names[: len(begin) + 1] == [*begin, "answers"]
    assert names[-2:] == ["feedback", "pairs"]
    rated = [name for name in names if name.startswith("annotations_")]
    assert {plan[name].inputs["feedback"] for name in rated} == {plan["answers"].key}
    assert set(plan["feedback"].inputs) == {"answers", *rated}
    assert plan["pairs"].inputs["feedback"] == plan["feedback"].key


def test_a_model_of_this_process_answers_in_the_worker_and_others_here(plan: dict[str, Node]) -> None:
    inside = {name: plan[name].in_worker for name in plan if name.startswith("responses_")}
    assert inside == {"responses_own": True, "responses_hot": True, "responses_weak": False, "responses_far": False}
    assert plan["responses_far"].versions == {}, "another torch asks no endpoint again"
    assert set(plan["responses_far"].inputs) == {"instructions"}


def test_the_prompts_are_the_artifact_that_a_run_of_that_option_makes(plan: dict[str, Node]) -> None:
    config = composed("experiment=smoke", "data.prompts=50", "until=feedback")
    (feedback,) = make_plan(config, fixed_sources(config))
    assert plan["instructions"].key == feedback.key


def keys(plan: dict[str, Node]) -> dict[str, str]:
    return {name: node.key for name, node in plan.items()}


@pytest.mark.parametrize(
    ("overrides", "moved"),
    [
        (["data.writers.3.base_url=http://127.0.0.1:2/v1", "data.writers.3.concurrency=2"], set()),
        (["data.budget=5", "data.writers.3.input_price=1", "data.writers.3.output_price=1"], set()),
        (["data.writers.3.temperature=0.1"], {"responses_far"}),
        (["data.writers.1.max_new_tokens=9"], {"responses_hot"}),
        (["data.judge.seed=5"], {"annotations_helpfulness", "annotations_honesty"}),
        (["data.seed=1"], {"responses_own", "responses_hot", "responses_weak", "responses_far"}),
    ],
)
def test_what_moves_an_answer_or_a_rating_is_in_its_key_and_how_it_is_reached_is_not(
    plan: dict[str, Node], overrides: list[str], moved: set[str]
) -> None:
    before, after = keys(plan), keys(nodes(*overrides))
    changed = {name for name in before if before[name] != after[name]}
    assert moved <= changed
    others = {name for name in changed if name.startswith("responses_")}
    assert others == {name for name in moved if name.startswith("responses_")}
    assert ("feedback" in changed) is bool(moved)


def test_writers_with_one_model_and_temperature_sample_by_seeds_of_their_own(plan: dict[str, Node]) -> None:
    assert plan["responses_own"].settings["seed"] != plan["responses_hot"].settings["seed"]
    assert plan["responses_far"].settings["endpoint_model"] == "big"
    assert plan["responses_weak"].settings["world"]["prompts"] == 50


def test_a_writers_own_model_is_the_runs_where_it_is_the_same() -> None:
    pool = "data.writers=[{name: own}, {name: same, model: tiny_random}, {name: other, model: ./elsewhere}]"
    found = nodes(pool, "data.per_prompt=2")
    assert found["responses_same"].inputs["base_model"] == found["base_model"].key
    assert found["responses_other"].inputs["base_model"] == found["base_model_other"].key
    assert found["base_model_other"].stage is Stage.base_model


def test_it_may_end_with_the_answers() -> None:
    assert [*nodes(until="responses")][-1] == "responses_far"


def test_the_truth_is_a_labelling_where_all_writers_are_simulated() -> None:
    from notus_exp.evaluation.preferences.spec import LATENT, expected_labellings

    pool = "data.writers=[{name: a, simulated: 0.1}, {name: b, simulated: 0.9}]"
    config: Config = composed(*MADE, pool, "data.per_prompt=2")
    assert LATENT in expected_labellings(config.data)
    assert LATENT not in expected_labellings(composed(*MADE, WRITERS).data)
