"""A study's budget: what judges cost over its runs, each record read once until it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from notus_exp.disk.outputs import run_json
from notus_exp.study.launching import launched
from notus_exp.study.launching.launched import Budget


def record(folder: Path, run: str, usd: float, when: int) -> None:
    path = run_json(folder, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 1, "run_id": run, "status": "finished", "costs": {"judge_usd": usd}}))
    os.utime(path, ns=(when, when))


def test_a_record_is_read_once_until_it_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    read: list[str] = []

    def counted(where: Path, run: str) -> object:
        read.append(run)
        return json.loads(run_json(where, run).read_text())

    monkeypatch.setattr(launched, "read_run", counted)
    budget = Budget(None, 1.0, folder)
    record(folder, "a", 0.25, 1)
    record(folder, "b", 0.5, 1)
    assert budget.spent(["a", "b", "a", "not begun"]) == 0.75
    assert budget.exhausted(["a", "b"]) is None
    assert sorted(read) == ["a", "b"]
    record(folder, "a", 0.5, 2)
    assert budget.exhausted(["a", "b"]) == "study.max_cost=1 is spent (1.00 USD)"
    assert read.count("a") == 2
    assert read.count("b") == 1
    assert budget.exhausted(["a"], elsewhere=0.25) is None
