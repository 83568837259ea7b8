"""One served model answers for one model: arms, seeds, candidates and trials that would share it are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from notus_exp.errors import UserError
from notus_exp.run.pipeline import Run
from notus_exp.run.plan import make_plan
from notus_exp.study.launching.served_models import check_served
from support.configs import composed
from support.plans import fixed_sources

SERVED = [
    "experiment=smoke", "generation=openai", "generation.base_url=http://one:1/v1", "generation.base_model=base",
    "generation.policy_model=p", "evaluation=[verifiable]", "evaluation.verifiable.kl_prompts=0",
]  # fmt: skip
JUDGED = [
    "experiment=smoke", "judge=openai", "judge.model=j", "judge.base_url=http://one:1/v1", "evaluation=[alpaca_eval]",
    "evaluation.alpaca_eval.prompts=x.json",
]  # fmt: skip


def planned(*overrides: str) -> Run:
    config = composed(*overrides)
    return cast(Run, SimpleNamespace(config=config, nodes=make_plan(config, fixed_sources(config))))


def refused(runs: dict[str, Run]) -> str:
    with pytest.raises(UserError) as error:
        check_served(runs)
    return f"{error.value.message} | {error.value.hint}"


@pytest.mark.parametrize("differs", ["dpo.beta=0.5", "seed=1", "selection=critique"])
def test_one_served_model_is_not_the_policy_of_two_runs(differs: str) -> None:
    said = refused({"one": planned(*SERVED), "two": planned(*SERVED, differs)})
    assert "one and two have different policies" in said
    assert "generation.policy_model=p" in said
    own = "generation.policy_model=beta-${dpo.beta}-seed-${seed}-${selection.name}"
    check_served({"one": planned(*SERVED, own), "two": planned(*SERVED, own, differs)})


def test_one_served_model_is_not_the_base_model_of_two_runs() -> None:
    other = planned(*SERVED, "generation.policy_model=q", "model=smollm2_135m")
    assert "have different base models" in refused({"one": planned(*SERVED), "two": other})


def test_runs_with_one_policy_may_share_what_serves_it() -> None:
    check_served({"one": planned(*SERVED), "two": planned(*SERVED, "evaluation.verifiable.max_new_tokens=5")})


@pytest.mark.parametrize("until", ["policy", "pairs"])
def test_nothing_is_refused_where_nobody_is_asked(until: str) -> None:
    check_served({"one": planned(*SERVED, f"until={until}"), "two": planned(*SERVED, "seed=1", f"until={until}")})
    here = [one for one in SERVED if not one.startswith("generation")]
    check_served({"one": planned(*here), "two": planned(*here, "seed=1")})


@pytest.mark.parametrize(("common", "setting"), [(SERVED, "generation.base_url"), (JUDGED, "judge.base_url")])
def test_arms_that_ask_different_endpoints_are_refused(common: list[str], setting: str) -> None:
    more: list[Any] = ["generation.policy_model=q"] if common is SERVED else []
    other = planned(*common, "seed=1", *more, f"{setting}=http://two:2/v1")
    said = refused({"one": planned(*common), "two": other})
    assert f"{setting} is http://one:1/v1 in one and http://two:2/v1 in two" in said
    check_served({"one": planned(*common), "two": planned(*common, "seed=1", *more, f"{setting}=http://one:1/v1/")})
