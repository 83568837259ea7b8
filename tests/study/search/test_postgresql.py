"""A search in a real PostgreSQL, by processes that share no folder: who has a trial, who dies, and what others see."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from notus_exp.disk.outputs import read_study
from notus_exp.errors import UserError
from notus_exp.study.search import lease, trial_locks
from notus_exp.study.search.search_comparison import search_comparison
from notus_exp.study.search.storage import open_storage
from notus_exp.study.search.storage_urls import ENVIRONMENT, remembered, url_of_driver
from notus_exp.study.search.summary import summary
from support.configs import composed
from support.postgresql import PASSWORD, Server, postgresql
from support.searches import FakeJobs, child, good, search
from support.tiny_search import finish, start, wait_for

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
    monkeypatch.setattr(trial_locks, "_ASLEEP_SECONDS", 1)

    def turn() -> Any:
        return trial_locks.turns(server.whole, tmp_path, "x", 0, lambda: None)

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
    content = json.loads((folder / "study.json").read_text())
    content["search"] |= {"storage_file": None, "storage": remembered(server.bare)}
    (folder / "study.json").write_text(json.dumps(content))
    assert len(summary(folder)["trials"]) == 1, "found again by the user that is remembered, and PGPASSWORD"
    monkeypatch.setenv(ENVIRONMENT, server.whole.replace("/postgres", "/template1"))
    with pytest.raises(UserError, match="names another database"):
        summary(folder)
    monkeypatch.delenv(ENVIRONMENT)
    with pytest.raises(UserError, match='database "nowhere" does not exist'):
        search(folder, trials=1, storage=server.bare.replace("/postgres", "/nowhere"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()


def test_the_report_of_each_machine_is_whole_without_the_others_runs(server: Server, tmp_path: Path) -> None:
    """Each of two machines runs half of the trials; what a third one, with all runs, would say is what both say."""
    parts = {"one": machine(tmp_path, "one", "halves"), "two": machine(tmp_path, "two", "halves")}
    everything = machine(tmp_path, "all", "halves")
    for place, (name, folder) in enumerate(parts.items()):
        jobs = FakeJobs(folder)
        enough = place == 0

        def may_start(jobs: FakeJobs = jobs, enough: bool = enough) -> str | None:
            return "enough" if enough and len(jobs.launched) >= 4 else None

        work = lambda folder=folder, jobs=jobs, stop=may_start: search(  # noqa: E731
            folder, jobs, trials=8, storage=server.bare, seeds=(0, 1), may_start=stop
        )
        assert code_of(on(name, work)) == 0
        content = json.loads((folder / "study.json").read_text())
        content["search"]["storage"] = server.bare
        (folder / "study.json").write_text(json.dumps(content))
        shutil.copytree(folder.parent.parent / "runs", everything.parent.parent / "runs", dirs_exist_ok=True)
    shutil.copytree(parts["one"], everything)
    whole = summary(everything)
    assert not any("elsewhere" in trial for trial in whole["trials"])
    for folder, there in zip(parts.values(), (6, 2), strict=True):
        found = summary(folder)
        assert sum(trial.pop("elsewhere", False) for trial in found["trials"]) == there
        assert found == whole
        (warning,) = search_comparison(folder, read_study(folder))["warnings"]
        assert warning.startswith(f"another machine has the runs of {there} of 8 trials: their values are from")


def test_a_plan_counts_what_other_machines_have_done_and_makes_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search(machine(tmp_path, "one", "planned"), trials=3, storage=server.bare)
    folder = machine(tmp_path, "two", "planned")
    config = composed("dpo.evaluations=4", "until=config")
    search(folder, FakeJobs(folder, config=config), trials=5, storage=server.bare)
    assert "3 of 5 trials are finished" in capsys.readouterr().out
    assert not [*folder.iterdir()]
    monkeypatch.delenv(ENVIRONMENT)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    search(folder, FakeJobs(folder, config=config), trials=5, storage=server.bare.replace("/postgres", "/template1"))
    assert "5 trials of 1 run(s) each" in capsys.readouterr().out
    engine = create_engine(url_of_driver(server.whole.replace("/postgres", "/template1")), poolclass=NullPool)
    assert inspect(engine).get_table_names() == []


def test_a_real_search_goes_on_elsewhere_when_its_machine_is_lost(server: Server, tmp_path: Path) -> None:
    """Two machines that share no folder: the first is lost, with kill -9, in the midst of its second trial."""
    roots = there, here = tmp_path / "there", tmp_path / "here"
    for root in roots:
        root.mkdir()
    storage = f"study.search.storage={server.bare}"

    def states() -> list[str]:
        try:
            return [trial.state.name for trial in trials_of(server, "tiny")]
        except KeyError:
            return []

    first = start(there, storage, machine="there", trials=3, lease=6)
    wait_for(lambda: states() == ["COMPLETE", "RUNNING"] and [*there.glob("outputs/artifacts/policy-*.partial")], first)
    second = start(here, storage, trials=3, lease=6)
    first.kill()
    words = Path(f"/proc/{second.pid}/cmdline").read_bytes()
    first.communicate()
    said = finish(second)
    assert "trial 1 expired: the process that worked on it is gone; it is asked again" in said
    assert "the search is finished: 3 trials" in said
    assert "another machine has the runs of trial 0: their values are from the storage" in said
    assert Counter(states()) == {"COMPLETE": 3, "FAIL": 1}
    trials = trials_of(server, "tiny")
    (again,) = (trial for trial in trials if trial.user_attrs.get("repeats") == 1)
    assert again.params == trials[1].params
    ids = [trial.user_attrs["runs"]["0"] for trial in trials if trial.state.name == "COMPLETE"]
    assert len({*ids}) == 3
    made = {root: {path.parent.name for path in root.glob("outputs/runs/*/run.json")} for root in roots}
    assert made[there] == {ids[0], again.user_attrs["runs"]["0"]}, "the second of them was not finished there"
    assert made[here] == {*ids[1:]}
    for text in (words, said.encode()):
        assert PASSWORD.encode() not in text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
