"""Simulated writers answer the prompts of the simulated world, whose true quality is known."""

from __future__ import annotations

import polars as pl
import pytest

from notus_exp.config.data_settings import Simulated
from notus_exp.errors import UserError
from notus_exp.feedback.simulated import simulate
from notus_exp.making.simulated_writing import simulated_answers
from notus_exp.stages.settings import to_json
from support.configs import composed


@pytest.fixture(scope="module")
def world() -> Simulated:
    data = composed("data.prompts=60").data
    assert isinstance(data, Simulated)
    return data


@pytest.fixture(scope="module")
def prompts(world: Simulated) -> pl.DataFrame:
    return simulate(world).unique("prompt_id", keep="first", maintain_order=True).select("prompt_id", "row")


def test_a_writer_of_full_skill_is_right_in_everything_and_one_of_none_is_not(
    world: Simulated, prompts: pl.DataFrame
) -> None:
    best, worst = (simulated_answers(prompts, to_json(world), skill, 1) for skill in (1.0, 0.0))
    assert {one["quality"] for one in best} == {1.0}
    assert max(one["quality"] for one in worst) < 1.0
    assert all(one["response"].strip() for one in [*best, *worst])


def test_an_answer_depends_on_its_prompt_and_the_seed_alone(world: Simulated, prompts: pl.DataFrame) -> None:
    whole = simulated_answers(prompts, to_json(world), 0.5, 1)
    assert simulated_answers(prompts[10:20], to_json(world), 0.5, 1) == whole[10:20]
    assert simulated_answers(prompts, to_json(world), 0.5, 2) != whole


def test_a_prompt_of_another_world_is_refused(world: Simulated, prompts: pl.DataFrame) -> None:
    other = prompts.with_columns(pl.col("row") + 1)
    with pytest.raises(UserError, match="is none of the simulated world"):
        simulated_answers(other, to_json(world), 0.5, 1)
