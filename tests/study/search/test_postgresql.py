"""A search in a real PostgreSQL, by processes that share no folder: who has a trial, who dies, and what others see."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from notus_exp.errors import UserError
from notus_exp.study.search import lease, turns
from notus_exp.study.search.storage import open_storage
from notus_exp.study.search.storage_urls import ENVIRONMENT
from support.postgresql import PASSWORD, Server, postgresql
from support.searches import FakeJobs, child, good, search

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


@pytest.fixture(autouse=True)
def whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, server.whole)


def machine(tmp_path: Path, name: str, study: str) -> Path:
    """The study's folder on a machine: machines share none."""
    return tmp_path / name / "outputs" / "studies" / study


def on(name: str, work: Callable[[], Any]) -> int:
    """Do some work in a process of another machine, as far as leases can tell; return its process id."""
    pid = os.fork()
    if pid == 0:
        lease._host = lambda: name
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def trials_of(server: Server, study: str) -> list[Any]:
    return optuna.load_study(study_name=study, storage=open_storage(server.whole)).get_trials()


def test_machines_that_begin_at_once_make_one_search_and_do_each_trial_once(server: Server, tmp_path: Path) -> None:
    names = ["one", "two", "three"]

    def work(name: str) -> None:
        folder = machine(tmp_path, name, "crowd")
        jobs = FakeJobs(folder, lambda values: time.sleep(0.05) or good(values))
        search(folder, jobs, trials=24, storage=server.bare)
        (tmp_path / name / "mine").write_text(str(len(jobs.launched)))

    assert [code_of(pid) for pid in [on(name, lambda name=name: work(name)) for name in names]] == [0, 0, 0]
    trials = trials_of(server, "crowd")
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": 24}
    done = {name: int((tmp_path / name / "mine").read_text()) for name in names}
    assert sum(done.values()) == 24, "no trial was run twice"
    assert all(done.values()), "each machine took some"
    assert len({trial.user_attrs["lease"]["host"] for trial in trials}) == 3
    assert not [*tmp_path.rglob("optuna.db"), *tmp_path.rglob("search.lock")], "nothing of it lies in a folder"


def test_a_trial_of_a_machine_that_died_is_asked_again_by_another_once(server: Server, tmp_path: Path) -> None:
    there, here = machine(tmp_path, "there", "lost"), machine(tmp_path, "here", "lost")
    dying = FakeJobs(there, lambda values: os._exit(9))
    assert code_of(on("there", lambda: search(there, dying, trials=2, storage=server.bare))) == 9
    begun = time.monotonic()
    said = search(here, trials=2, storage=server.bare, lease=2.0)
    assert time.monotonic() - begun >= 2, "whether it lives cannot be seen from here but by its lease"
    assert "waiting for 1 trial(s) of other processes" in said
    assert "trial 0 expired: the process that worked on it is gone" in said
    trials = trials_of(server, "lost")
    assert [trial.user_attrs.get("state") for trial in trials if trial.user_attrs.get("state")] == ["expired"]
    (again,) = (trial for trial in trials if trial.user_attrs.get("repeats") == 0)
    assert again.params == trials[0].params
    assert again.user_attrs["runs"] == trials[0].user_attrs["runs"]


def test_a_holder_of_the_turn_that_dies_or_falls_asleep_does_not_stop_the_others(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_ASLEEP_SECONDS", 1)

    def turn() -> Any:
        return turns.turns(server.whole, tmp_path, "x", 0, lambda: None)

    def die() -> None:
        turn().__enter__()
        os._exit(7)

    assert child(die) == 7
    with turn():
        pass
    asleep = turn()
    asleep.__enter__()
    begun = time.monotonic()
    with turn():
        assert 0.3 < time.monotonic() - begun < 30
    with pytest.raises(Exception, match=r"idle-in-transaction|terminat|closed"):
        asleep.__exit__()


def test_a_database_that_is_restarted_ends_no_search(server: Server, tmp_path: Path) -> None:
    folder = machine(tmp_path, "one", "restarted")
    restarted: list[int] = []

    def stop(values: Any) -> dict[str, float]:
        if not restarted:
            restarted.append(1)
            server.stop()
            threading.Timer(3, server.start).start()
        return good(values)

    said = search(folder, FakeJobs(folder, stop), trials=3, storage=server.bare, lease=60)
    assert "is away: it is tried again for study.search.lease=60 s" in said
    assert "the search is finished: 3 trials" in said
    assert PASSWORD not in said


def test_a_wrong_password_and_a_missing_database_are_told_without_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine(tmp_path, "one", "refused")
    monkeypatch.setenv(ENVIRONMENT, server.whole.replace(PASSWORD, "wrong-secret"))
    with pytest.raises(UserError, match="password authentication failed") as caught:
        search(folder, trials=1, storage=server.bare)
    assert "wrong-secret" not in str(caught.value)
    monkeypatch.delenv(ENVIRONMENT)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert "the search is finished: 1 trials" in search(folder, trials=1, storage=server.bare)
    with pytest.raises(UserError, match='database "nowhere" does not exist'):
        search(folder, trials=1, storage=server.bare.replace("/postgres", "/nowhere"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()
