"""What a tracker is told of a run: its place in a study, its tags, its events."""

from __future__ import annotations

from typing import Any

import pytest

from notus_exp.disk.events import PROGRESS, Event
from notus_exp.run.execution import STARTED
from notus_exp.run.pipeline import member_of
from notus_exp.run.retelling import is_kept, tags_of
from notus_exp.study.launching.definition import written
from notus_exp.tracking import Membership, candidate_of, of_trial
from support.configs import composed

STRICT, TOKENS = "verifiable/strict", "verifiable/tokens"


def test_a_run_of_its_own_has_no_place() -> None:
    assert member_of(composed()) is None


def test_a_run_of_an_arm_and_one_of_a_trial_know_their_place() -> None:
    arm = member_of(composed("study.name=mine", "study.arm=average", f"study.metric={STRICT}", "seed=2"))
    assert arm == Membership("mine", "average", 2, metrics=(STRICT,))
    goals = [f"+study.search.objectives={{{STRICT}:maximize}}", f"+study.search.constraints={{{TOKENS}:{{most:60}}}}"]
    trial = member_of(composed("study.name=mine", "study.trial=7", *goals))
    assert trial == of_trial("mine", 7, 0, [STRICT, TOKENS])
    assert (trial.arm, trial.trial) == ("trial_7", 7)


@pytest.mark.parametrize("value", [0.03, 1.0e-6, 3, True, None, "linear", [1, 2], ["a", "b"]])
def test_what_tuning_tries_is_called_alike_while_it_runs_and_afterwards(value: Any) -> None:
    """A run's own config holds the value; study.json holds it as an override wrote it."""
    assert candidate_of({"dpo.beta": value}) == candidate_of({"dpo.beta": written(value)})


def test_a_candidate_of_tuning_is_told_from_the_arm_by_its_seed() -> None:
    study = ["study.name=mine", "study.arm=average", "study.tune=[dpo.beta]", "dpo.beta=0.03"]
    assert member_of(composed(*study, "seed=0")).candidate == ""  # type: ignore[union-attr]
    assert member_of(composed(*study, "seed=1000")).candidate == "dpo.beta=0.03"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("evaluation", "until", "absent"),
    [
        ("preferences", "evaluation", {"judge", "generation"}),
        ("verifiable", "evaluation", {"judge"}),
        ("verifiable,mt_bench", "evaluation", set()),
        ("mt_bench", "generations", {"judge"}),
        ("mt_bench", "pairs", {"judge", "generation"}),
    ],
)
def test_nothing_is_tagged_that_the_run_did_not_use(evaluation: str, until: str, absent: set[str]) -> None:
    choices = {"evaluation": evaluation, "judge": "openai", "generation": "transformers", "data": "simulated"}
    run: Any = {"status": "finished", "choices": {**choices, "tracking": "wandb"}, "config": {"until": until}}
    groups = {tag.partition("=")[0] for tag in tags_of(run)}
    assert groups == choices.keys() - absent


def test_sentences_progress_and_marks_are_not_told() -> None:
    told = [
        Event(0.0, "policy", 1, {"train/loss": 0.5}),
        Event(0.0, "policy", 1, {PROGRESS: 0.5, "train/loss": 0.5}),
        Event(0.0, "policy", 0, {STARTED: 1.0}),
        Event(0.0, "policy", 0, {}, "a file was damaged"),
    ]
    assert [is_kept(event) for event in told] == [True, False, False, False]
