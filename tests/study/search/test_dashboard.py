"""optuna-dashboard opens a search's storage: the command of docs/searches.md, on a file and on a real PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from notus_exp.study.search.storage_urls import ENVIRONMENT
from support.postgresql import PASSWORD, free_port, postgresql
from support.searches import search

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("optuna_dashboard") is None,
        reason="needs the extra 'dashboard': pip install 'notus-exp[dashboard]'",
    ),
]


@contextmanager
def dashboard(storage: str, folder: Path, **environment: str) -> Iterator[httpx.Client]:
    """Run the command on a port of its own."""
    port = free_port()
    program = Path(sys.executable).parent / "optuna-dashboard"
    with (folder / "dashboard.log").open("wb") as log:
        process = subprocess.Popen(
            [program, storage, "--port", str(port)], stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.get("/api/studies")
                    break
                except httpx.TransportError:
                    assert process.poll() is None, (folder / "dashboard.log").read_text()
                    assert time.monotonic() < deadline, (folder / "dashboard.log").read_text()
                    time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def check_shown(client: httpx.Client, name: str, trials: int) -> None:
    (study,) = (one for one in client.get("/api/studies").json()["study_summaries"] if one["study_name"] == name)
    page = client.get(f"/dashboard/studies/{study['study_id']}")
    assert page.status_code == 200
    assert "<html" in page.text
    detail = client.get(f"/api/studies/{study['study_id']}", params={"after": 0}).json()
    assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * trials
    assert {param["name"] for param in detail["union_search_space"]} >= {"selection", "dpo.beta"}


def test_a_search_in_a_file_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    search(folder, trials=3)
    with dashboard(f"sqlite:///{folder}/optuna.db", tmp_path) as client:
        check_shown(client, "mine", 3)


def test_a_search_in_postgresql_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgresql() as server:
        monkeypatch.setenv(ENVIRONMENT, server.whole)
        search(tmp_path / "outputs" / "studies" / "mine", trials=3, storage=server.bare)
        bare = server.bare.replace("postgresql:", "postgresql+psycopg:")
        with dashboard(bare, tmp_path, PGPASSWORD=PASSWORD) as client:
            check_shown(client, "mine", 3)
