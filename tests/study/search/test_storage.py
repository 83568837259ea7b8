"""Where trials are kept, and that a password is in nothing that is shown or written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from notus_exp.contracts.format import DamagedFileError
from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError
from notus_exp.study.search.storage import explained, open_storage
from notus_exp.study.search.storage_urls import (
    ENVIRONMENT,
    check_storage,
    connecting,
    remembered,
    shown,
    storage_url,
    url_of_driver,
)
from notus_exp.study.search.summary import summary
from support.searches import FakeJobs, search

SECRET = "s3cret"
WHOLE = f"postgresql://ann:{SECRET}@db.example:5432/studies"


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.delenv(ENVIRONMENT)


def test_without_a_url_the_storage_is_a_file_in_the_study(tmp_path: Path) -> None:
    assert check_storage(None) is None
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/optuna.db"


def test_a_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = check_storage("postgresql://ann@db.example/studies")
    assert bare == "postgresql://ann@db.example/studies"
    assert storage_url(bare, tmp_path) == bare, "the driver may know it: PGPASSWORD, ~/.pgpass"
    monkeypatch.setenv(ENVIRONMENT, WHOLE)
    assert storage_url(bare, tmp_path) == WHOLE, "5432 is PostgreSQL's port"
    assert SECRET not in shown(WHOLE)


@pytest.mark.parametrize(
    "url", [WHOLE, *(f"postgresql://db.example/x?{name}={SECRET}" for name in ("password", "sslpassword"))]
)
def test_a_password_in_the_config_is_refused_with_the_remedy(url: str, tmp_path: Path) -> None:
    """It would stand in the list of processes, and in what Hydra's launchers write for their jobs."""
    folder = tmp_path / "outputs" / "studies" / "mine"
    with pytest.raises(UserError, match="was given with a password") as caught:
        search(folder, storage=url)
    assert f"export {ENVIRONMENT}" in caught.value.hint
    assert SECRET not in str(caught.value) + shown(url)
    assert not (folder / "study.json").exists()


def test_a_database_is_found_again_by_what_was_written_down(tmp_path: Path) -> None:
    written = remembered("postgresql://ann@db.example:5433/studies")
    assert written == "postgresql://db.example:5433/studies?user=ann", "a user in its usual place is struck out"
    assert without_credentials(written) == written
    assert storage_url(written, tmp_path) == written
    assert remembered("sqlite:////tmp/trials.db") == "sqlite:////tmp/trials.db"
    assert SECRET not in remembered(WHOLE)


def test_postgresql_is_reached_by_psycopg_and_noticed_when_it_is_gone() -> None:
    assert url_of_driver("postgresql://ann@db.example/x") == "postgresql+psycopg://ann@db.example/x"
    assert url_of_driver("postgresql+pg8000://db.example/x") == "postgresql+pg8000://db.example/x"
    options = connecting("postgresql://db.example/x?connect_timeout=3")
    assert options["pool_pre_ping"] is True
    assert "connect_timeout" not in options["connect_args"], "the URL's own holds"
    assert options["connect_args"]["keepalives_idle"] == 30
    assert "connect_args" not in connecting("mysql+pymysql://db.example/x")


def test_the_environment_may_hold_the_whole_url_of_the_same_database_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, WHOLE)
    assert storage_url("postgresql://db.example:5432/studies", tmp_path) == WHOLE
    for other in ("postgresql://db.example/others", "postgresql://db.example/studies?options=-csearch_path%3Dmine"):
        with pytest.raises(UserError, match="names another database") as caught:
            storage_url(other, tmp_path)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["optuna.db", f"nonsense:{SECRET}", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_shared_database_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"study\.search\.storage="):
        check_storage(url)


def test_a_database_that_cannot_be_reached_is_an_error_without_its_password(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/folder/optuna.db"
    with pytest.raises(UserError, match=r"cannot be used: .*unable to open database file"):
        open_storage(url)
    with pytest.raises(UserError) as caught, explained(WHOLE):
        raise ImportError(f"no driver for {WHOLE}, password {SECRET}")
    assert SECRET not in str(caught.value)
    assert caught.value.hint == "pip install 'notus-exp[postgresql]'"


def test_any_database_may_hold_the_trials_of_several_studies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    for name in ("one", "two"):
        folder = tmp_path / "outputs" / "studies" / name
        jobs = FakeJobs(folder)
        said = search(folder, jobs, trials=2, storage=url)
        assert f"study.search.storage='{url}'" in jobs.planned[-1]
        assert url in said
        assert not (folder / "optuna.db").exists()
        content = json.loads((folder / "study.json").read_text())
        content["search"]["storage"] = url
        (folder / "study.json").write_text(json.dumps(content))
        assert [trial["number"] for trial in summary(folder)["trials"]] == [0, 1]


def test_a_summary_whose_storage_needs_a_password_asks_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    folder.mkdir(parents=True)
    described = {"storage_file": None, "storage": "postgresql://***@db.example/studies", "objectives": {}}
    described |= {"constraints": {}, "parameters": {}}
    content = {"name": "mine", "kind": "search", "metric": "m", "seeds": [0], "arms": {}, "search": described}
    (folder / "study.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="storage of 'mine' is not known"):
        summary(folder)


def test_a_search_that_has_not_begun_has_no_trials(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    folder.mkdir(parents=True)
    described = {"storage_file": "optuna.db", "objectives": {}, "constraints": {}, "parameters": {}}
    content = {"name": "mine", "kind": "search", "metric": "m", "seeds": [0], "arms": {}, "search": described}
    (folder / "study.json").write_text(json.dumps(content))
    found = summary(folder)
    assert (found["trials"], found["best"], found["command"]) == ([], [], None)
    assert not (folder / "optuna.db").exists()


def flip(path: Path) -> None:
    path.write_bytes(b"\0" + path.read_bytes()[1:])


def raise_value(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trial_values SET value = value + 0.25 WHERE trial_id = 1")


def turn_direction(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE study_directions SET direction = 'MINIMIZE'")


def break_json(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '{half'")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a finished search of two trials."""
    outputs = tmp_path_factory.mktemp("searched") / "outputs"
    search(outputs / "studies" / "mine", trials=2)
    return outputs


def rename(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE studies SET study_name = 'mind'")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [flip, raise_value, turn_direction, break_json, rename, cut, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_trials_is_named_by_readers_and_begun_anew_by_the_search(
    damage: Callable[[Path], object], searched: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "outputs")
    folder = tmp_path / "outputs" / "studies" / "mine"
    before = summary(folder)["trials"]
    path = folder / "optuna.db"
    damage(path)
    content = path.read_bytes()
    with pytest.raises(DamagedFileError, match=r"optuna\.db is damaged: .") as caught:
        summary(folder)
    assert "the search's command sets it aside" in caught.value.hint
    jobs = FakeJobs(folder)
    said = search(folder, jobs, trials=2)
    assert f"{path} is damaged: " in said
    assert "; it is set aside as optuna.db.damaged-1, and its trials are asked again" in said
    assert (folder / "optuna.db.damaged-1").read_bytes() == content
    again = summary(folder)["trials"]
    assert [(one["params"], one["values"], one["runs"]) for one in again] == [
        (one["params"], one["values"], one["runs"]) for one in before
    ], "the same trials, whose runs are there"


def test_a_locked_file_of_trials_names_itself_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    search(folder, trials=1)
    monkeypatch.setattr("notus_exp.study.search.storage.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(folder / "optuna.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"optuna\.db cannot be used: .*locked") as caught:
        search(folder, trials=2)
    assert "another process holds it" in caught.value.hint
    other.close()
