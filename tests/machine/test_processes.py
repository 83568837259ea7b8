"""Processes of one launch: what they say comes back in one order, is data alone, and is not kept."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from torch.distributed import HashStore

from notus_exp.machine import processes
from notus_exp.machine.processes import Processes, launched_team
from notus_exp.machine.team import Alone


def together(work: Callable[[Processes], Any], store: HashStore, size: int = 2) -> list[Any]:
    """Return what each of several threads returns, which are a team over one store as processes are."""
    found: dict[int, Any] = {}
    teams = [Processes(store, rank, size) for rank in range(size)]
    threads = [threading.Thread(target=lambda team=team: found.update({team.rank: work(team)})) for team in teams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [found[rank] for rank in range(size)]


def test_each_process_hears_all_in_the_order_of_their_numbers() -> None:
    def work(team: Processes) -> list[list[str]]:
        return [team.gather(f"{team.rank} in round {number}") for number in range(3)]

    rounds = [[f"{rank} in round {number}" for rank in range(3)] for number in range(3)]
    assert together(work, HashStore(), 3) == [rounds] * 3


def test_process_0_alone_makes_what_all_are_given() -> None:
    made: list[int] = []

    def work(team: Processes) -> dict[str, float]:
        return team.broadcast(lambda: made.append(team.rank) or {"a": 1 / 3, "b": -0.0})  # type: ignore[func-returns-value]

    assert together(work, HashStore()) == [{"a": 1 / 3, "b": -0.0}] * 2
    assert made == [0]


def test_a_message_longer_than_the_store_takes_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PART", 7)
    messages = ["", "x" * 5, "y" * 6, "é\n" * 50]
    assert (
        together(lambda team: [team.gather(message) for message in messages], HashStore())
        == [[[message] * 2 for message in messages]] * 2
    )


def test_what_all_have_heard_is_taken_out_of_the_store() -> None:
    store = HashStore()
    together(lambda team: [team.gather(number) for number in range(20)], store)
    assert store.num_keys() == 2, "those of the last round"


@pytest.mark.parametrize("given", [(1, 2), {1: 2}, {"a": (1,)}, {1}, b"a"])
def test_what_json_would_change_is_refused(given: object) -> None:
    with pytest.raises(TypeError):
        Processes(HashStore(), 0, 1).gather(given)


def test_numbers_that_are_none_are_heard_as_they_are() -> None:
    ((found,),) = [Processes(HashStore(), 0, 1).gather([math.nan, math.inf])]
    assert math.isnan(found[0])
    assert found[1] == math.inf


def test_a_process_that_was_started_alone_is_a_team_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(launched_team(), Alone)


def test_only_the_loss_of_others_is_called_so() -> None:
    gone = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    wrapped = ValueError("in the training")
    wrapped.__cause__ = gone
    assert processes.lost_others(gone)
    assert processes.lost_others(wrapped)
    assert not processes.lost_others(RuntimeError("CUDA out of memory"))
