"""A study of two arms of two rounds: on answers of the policy, and on those of the model that it began as."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.study_runs import read, run, runs

POOL = "{name: own, max_new_tokens: 16}, {name: good, simulated: 0.9}, {name: weak, simulated: 0.2}"
ARMS = [
    "data=made",
    "data.prompts.prompts=60",
    "data.per_prompt=3",
    "data.judge={judge: mock, verdicts_by: constraints}",
    f"data.writers=[{POOL}]",
    "split.test=0.2",
    "rounds.number=2",
    "rounds.writers=base,policy",
    "seed=0,1",
    "study.name=mine",
]


@pytest.mark.slow
def test_arms_share_the_first_round_and_are_compared_by_their_last_on_the_same_prompts(tmp_path: Path) -> None:
    given = [one for one in ARMS if not one.startswith("data.prompts=")]
    run(tmp_path, *given, "data.prompts={data: simulated, prompts: 60}")
    found = [one for one in runs(tmp_path).values() if one["status"] == "finished"]
    assert len(found) == 4
    for seed in (0, 1):
        base, policy = sorted(
            (one for one in found if one["seed"] == seed), key=lambda one: one["config"]["rounds"]["writers"]
        )
        for node in ("round1_policy", "round1_evaluation", "round1_merged"):
            assert base["stages"][node]["key"] == policy["stages"][node]["key"]
        assert base["stages"]["feedback"]["key"] != policy["stages"]["feedback"]["key"]
        assert base["rounds"][0] == policy["rounds"][0]
    comparison = read(tmp_path / "outputs/studies/mine/comparison.json")
    assert comparison["protocol"]["feedback"] == found[0]["stages"]["round1_feedback"]["key"]
    (primary,) = [row for row in comparison["contrasts"] if row["primary"]]
    assert primary["metric"] == "preferences/accuracy/average" and primary["seeds"] == 2
    assert not any("different data" in warning for warning in comparison["warnings"])
