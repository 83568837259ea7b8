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

from notus_exp.study.search.lease import LEASE, Keeper, Watch, _started, lives, new_lease
from notus_exp.study.search.summary import summary
from support.searches import FakeJobs, child, good, loaded, search

ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": 0.0}


def lease_of(process: subprocess.Popen[bytes]) -> Any:
    return new_lease() | {"pid": process.pid, "started": _started(process.pid)}


def test_a_living_process_holds_its_trial_whatever_any_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, lease = Watch(0.001), new_lease()
    for _ in range(3):
        assert not watch.is_dead(0, lease)
        time.sleep(0.01)
    for ahead in (1e9, -1e9):
        monkeypatch.setattr(time, "time", lambda ahead=ahead: 1.7e9 + ahead)
        monkeypatch.setattr("psutil.Process.create_time", lambda self, ahead=ahead: 1.7e9 + ahead)
        assert not watch.is_dead(0, lease)
        assert new_lease()["started"] == lease["started"], "a clock that is set moves no start"


def test_a_trial_without_a_lease_has_nobody() -> None:
    assert Watch(60).is_dead(0, None)


def test_a_killed_process_is_known_to_be_gone_before_its_time_is_over() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    watch, lease = Watch(60), lease_of(process)
    assert not watch.is_dead(0, lease)
    process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not watch.is_dead(0, lease) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert watch.is_dead(0, lease), "a zombie that nobody has waited for is gone too"
    process.wait()
    assert watch.is_dead(0, lease)


def test_a_pid_that_another_process_has_by_now_is_not_the_owner() -> None:
    lease = new_lease()
    assert Watch(60).is_dead(0, lease | {"started": lease["started"] - 100})


@pytest.mark.parametrize("lease", [ELSEWHERE, {**ELSEWHERE, "expires": 0.0}, "of no kind"])
def test_a_process_of_another_machine_is_dead_once_its_lease_stands_still(
    lease: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = Watch(60)
    for turn in range(4):  # it goes on being renewed: its clock, in a lease of before, may say what it likes
        now[0] += 59
        assert not watch.is_dead(0, {**lease, "renewed": turn} if isinstance(lease, dict) else f"{lease} {turn}")
    last = {**lease, "renewed": 3} if isinstance(lease, dict) else f"{lease} 3"
    now[0] += 59
    assert not watch.is_dead(0, last)
    now[0] += 1
    assert watch.is_dead(0, last)
    assert not watch.is_dead(1, last), "each trial is watched for itself"


def test_two_machines_of_one_name_are_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lease = new_lease()
    assert lives(lease) is True
    (tmp_path / "boot_id").write_text("another start")
    monkeypatch.setattr("notus_exp.study.search.lease._BOOT", tmp_path / "boot_id")
    assert lives(lease) is None


def test_a_keeper_renews_while_it_is_held_and_not_after() -> None:
    study = optuna.create_study()
    with Keeper(0.4) as keeper:
        trial = study.ask()
        keeper.hold(trial)
        first = study.trials[0].user_attrs[LEASE]["renewed"]
        time.sleep(0.7)
        later = study.trials[0].user_attrs[LEASE]["renewed"]
        assert later > first + 2
        keeper.drop(trial)
        dropped = study.trials[0].user_attrs[LEASE]["renewed"]
        time.sleep(0.3)
        assert study.trials[0].user_attrs[LEASE]["renewed"] == dropped


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
        first = study.trials[1].user_attrs[LEASE]["renewed"]
        time.sleep(0.2)
        assert study.trials[1].user_attrs[LEASE]["renewed"] > first, "the renewing goes on"


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
            trial.set_user_attr(LEASE, ELSEWHERE)
            thread = threading.Thread(target=lambda: other.append(search(folder, trials=1, lease=0.3)))
            thread.start()
            thread.join()
        return good(values)

    said = search(folder, FakeJobs(folder, slow), trials=1, lease=600)
    assert "has been asked again; its runs are kept" in said
    assert "trial 0 expired" in other[0]
    assert [trial["state"] for trial in summary(folder)["trials"]] == ["expired", "complete"]


def test_a_trial_that_somebody_else_ended_before_its_runs_were_noted_is_passed_over(folder: Path) -> None:
    class Slow(FakeJobs):
        def plan(self, overrides: Any) -> Any:
            if self.armed and any(one == "study.trial=0" for one in overrides) and self.checked:
                self.armed = False
                study = loaded(folder)
                study.tell(0, state=optuna.trial.TrialState.FAIL)
            self.checked = self.checked or bool((folder / "optuna.db").exists() and loaded(folder).trials)
            return super().plan(overrides)

        armed, checked = True, False

    said = search(folder, Slow(folder), trials=2, lease=600)
    assert "trial 0 was taken over by another process" in said
    assert [trial["state"] for trial in summary(folder)["trials"]][1:] == ["complete"]


def test_a_peer_whose_clock_is_far_ahead_takes_no_living_trial(folder: Path) -> None:
    """The owner works on trial 0; a peer, whose clock is a day ahead, is asked for work meanwhile."""
    peer: list[int] = []

    def slow(values: Any) -> dict[str, float]:
        if not peer:
            pid = os.fork()
            if pid == 0:
                real = time.time
                time.time = lambda: real() + 86_400
                code = 1
                try:
                    search(folder, trials=1, lease=1.0, may_start=_once())
                    code = 0
                finally:
                    os._exit(code)
            peer.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return good(values)

    said = search(folder, FakeJobs(folder, slow), trials=1, lease=1.0)
    assert peer == [0]
    assert "taken over" not in said
    assert [trial["state"] for trial in summary(folder)["trials"]] == ["complete"]


def _once() -> Any:
    """Let a process look for work for longer than a lease lasts."""
    until = time.monotonic() + 2.5
    return lambda: "enough" if time.monotonic() > until else None
