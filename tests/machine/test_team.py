"""Dealing out the work of a stage."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from notus_exp.machine.team import Alone, Team, conducts, rounds


@dataclass
class Other(Alone):
    """One of several processes, as far as dealing out goes."""

    rank: int
    size: int


def test_alone_is_a_team_of_one_that_writes() -> None:
    team: Team = Alone()
    assert conducts(team)
    assert team.gather("a") == ["a"]
    assert team.broadcast(lambda: 3) == 3


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("number", [0, 1, 5, 6])
def test_each_batch_is_dealt_to_one_process_and_the_rounds_keep_their_order(size: int, number: int) -> None:
    batches = list(range(number))
    dealt = [rounds(Other(rank, size), batches) for rank in range(size)]
    assert [batch for one in zip(*dealt, strict=True) for batch, _ in one if batch is not None] == batches
    assert [batch for _, whole in dealt[0] for batch in whole] == batches
    assert {len(one) for one in dealt} == {-(-number // size)}, "every process takes part in every round"
