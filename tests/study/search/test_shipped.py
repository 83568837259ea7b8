"""The search that is shipped fits the default run and the small one."""

from __future__ import annotations

import pytest

from notus_exp.study.search.goals import bounds, check_goals, check_measurable
from notus_exp.study.search.space import read_space
from support.configs import composed


@pytest.mark.parametrize("extra", [[], ["experiment=smoke"]], ids=["default", "smoke"])
def test_the_shipped_search_is_valid(extra: list[str]) -> None:
    config = composed("study=beta_search", "evaluation_split=validation", *extra)
    search = config.study.search
    space = read_space(search.parameters, extra)
    assert space.order == ["selection", "rejected", "dpo.beta"]
    check_goals(search)
    check_measurable(search, config)
    assert [(bound.metric, bound.side) for bound in bounds(search.constraints)] == [("verifiable/tokens", "most")]
    assert config.dpo.evaluations >= 2, "else its pruner has nothing to decide on"
