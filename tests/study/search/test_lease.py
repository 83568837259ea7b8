"""Leases: whose process is alive, whose is gone, and what becomes of a trial whose process is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from notus_exp.study.search.lease import LEASE, Keeper, is_dead, new_lease
from notus_exp.study.search.summary import summary
from support.searches import FakeJobs, child, good, loaded, search


def lease_of(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    import psutil

    return new_lease(seconds) | {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}


def test_a_lease_of_a_living_process_holds_until_its_time_is_over() -> None:
    lease = new_lease(60)
    assert not is_dead(lease, time.time())
    assert is_dead(lease, time.time() + 61)


def test_a_trial_without_a_lease_has_nobody() -> None:
    assert is_dead(None, time.time())


def test_a_killed_process_is_known_to_be_gone_before_its_time_is_over() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lease = lease_of(process, 60)
    assert not is_dead(lease, time.time())
    process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not is_dead(lease, time.time()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_dead(lease, time.time()), "a zombie that nobody has waited for is gone too"
    process.wait()
    assert is_dead(lease, time.time())


def test_a_pid_that_another_process_has_by_now_is_not_the_owner() -> None:
    lease = new_lease(60)
    assert is_dead(lease | {"started": lease["started"] - 100}, time.time())


def test_a_process_of_another_machine_is_alive_as_long_as_its_lease() -> None:
    lease = new_lease(60) | {"host": "elsewhere", "pid": 1, "started": 0.0}
    assert not is_dead(lease, time.time())
    assert is_dead(lease, time.time() + 61)


def test_a_keeper_renews_while_it_is_held_and_not_after() -> None:
    study = optuna.create_study()
    with Keeper(0.4) as keeper:
        trial = study.ask()
        keeper.hold(trial)
        first = study.trials[0].user_attrs[LEASE]["expires"]
        time.sleep(0.7)
        later = study.trials[0].user_attrs[LEASE]["expires"]
        assert later > first + 0.3
        keeper.drop(trial)
        dropped = study.trials[0].user_attrs[LEASE]["expires"]
        time.sleep(0.3)
        assert study.trials[0].user_attrs[LEASE]["expires"] == dropped


def test_a_keeper_lets_go_of_a_trial_that_another_process_has_ended() -> None:
    study = optuna.create_study()
    with Keeper(0.2) as keeper:
        trial = study.ask()
        keeper.hold(trial)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        time.sleep(0.3)
        other = study.ask()
        keeper.hold(other)
        time.sleep(0.3)
        assert study.trials[1].user_attrs[LEASE]["expires"] > time.time(), "the renewing goes on"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "studies" / "mine"


def test_trials_of_a_killed_process_are_asked_again_with_the_same_parameters(folder: Path) -> None:
    code = child(lambda: search(folder, FakeJobs(folder, lambda values: os._exit(9)), trials=2, concurrency=2))
    assert code == 9
    said = search(folder, trials=2)
    trials = summary(folder)["trials"]
    assert [trial["state"] for trial in trials] == ["expired", "expired", "complete", "complete"]
    assert [trial["repeats"] for trial in trials] == [None, None, 0, 1]
    assert trials[0]["params"] == trials[2]["params"]
    assert trials[0]["runs"] == trials[2]["runs"], "so the runs go on where they were"
    assert "trial 0 expired: the process that worked on it is gone" in said


def test_two_processes_that_find_the_same_dead_trial_ask_it_again_once(folder: Path) -> None:
    assert child(lambda: search(folder, FakeJobs(folder, lambda values: os._exit(9)), trials=1)) == 9
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                search(folder, FakeJobs(folder), trials=1)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert [trial.user_attrs.get("repeats") for trial in loaded(folder).trials] == [None, 0]


def test_the_result_of_a_trial_that_was_taken_over_is_not_told_twice(folder: Path) -> None:
    """The owner's lease runs out, as after a suspended machine; another process takes the trial; the owner wakes up."""
    other: list[str] = []

    def slow(values: Any) -> dict[str, float]:
        study = loaded(folder)
        trial = optuna.trial.Trial(study, study.trials[0]._trial_id)
        if study.trials[0].state is optuna.trial.TrialState.RUNNING:
            trial.set_user_attr(LEASE, new_lease(-1))
            thread = threading.Thread(target=lambda: other.append(search(folder, trials=1)))
            thread.start()
            thread.join()
        return good(values)

    said = search(folder, FakeJobs(folder, slow), trials=1, lease=600)
    assert "has been asked again; its runs are kept" in said
    assert "trial 0 expired" in other[0]
    assert [trial["state"] for trial in summary(folder)["trials"]] == ["expired", "complete"]
