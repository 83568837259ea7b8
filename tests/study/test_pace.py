"""How far a study is, and the hours left: by what its finished runs took, and nothing before the first has finished."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from notus_exp.reporting.going_on import going_on
from notus_exp.study.launching import pace as module
from notus_exp.study.launching import telling
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.launching.pace import Pace
from notus_exp.study.launching.planned import Planned


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test moves."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def _pace(total: int, finished: int) -> Pace:
    return Pace(Console(file=io.StringIO()), "study mine", "runs", total, finished)


def test_nothing_is_told_of_the_time_left_before_a_run_of_this_command_has_finished(clock: list[float]) -> None:
    pace = _pace(12, 4)
    clock[0] += 5000.0
    assert (pace.left(), pace._left_now()) == ("", "")


def test_the_time_left_is_what_the_finished_runs_took_in_the_mean(clock: list[float]) -> None:
    pace = _pace(12, 4)
    clock[0] += 3600.0
    pace.at(5)
    clock[0] += 1800.0
    pace.at(6)
    assert pace.left() == "about 4.5 h"  # two runs in 1.5 h, six are left
    assert pace.left(2) == "about 1.5 h"
    clock[0] += 1800.0
    assert pace._left_now() == "about 4.0 h"
    clock[0] += 7200.0
    assert pace._left_now() == "about 3.8 h"  # the run takes longer: those after it are still to come
    pace.at(12)
    assert (pace.left(), pace._left_now()) == ("", "")


def test_runs_that_finish_together_make_the_study_as_much_faster(clock: list[float]) -> None:
    pace = _pace(12, 0)
    clock[0] += 600.0
    pace.at(4)  # a launcher had four at once
    assert pace.left() == "about 20 min"


def test_a_studys_line_says_how_many_of_all_are_done(clock: list[float]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with going_on(console).open():
        pace = Pace(console, "search of_a_rather_long_name_indeed", "trials", 200, 0)
        clock[0] += 72000.0
        pace.at(50)
        time.sleep(0.3)
        pace.end()
    assert "25%" in out.getvalue() and "about 60.0 h left 50 of 200 trials" in out.getvalue()


def test_runs_that_a_launcher_has_at_once_are_told_when_each_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(run: str, status: str, age: float = 0.0) -> None:
        path = tmp_path / run / "run.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"status": status}))
        import os

        os.utime(path, (time.time() - age,) * 2)

    monkeypatch.setattr(telling, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(telling, "read_run_file", lambda path: json.loads(path.read_text()))
    monkeypatch.setattr(telling, "read_run", lambda folder, run: json.loads((tmp_path / run / "run.json").read_text()))
    runs: Any = [
        SimpleNamespace(
            id=f"r{n}", folder=tmp_path / f"r{n}", config=SimpleNamespace(study=SimpleNamespace(metric="m"))
        )
        for n in range(3)
    ]
    planned = [Planned("mean", seed, [], run) for seed, run in enumerate(runs)]
    out = io.StringIO()
    teller = telling.RunTeller(planned, tmp_path, Console(file=out, width=200), 3)
    record("r0", "finished", age=1000.0)  # of an attempt before this one
    with teller.watching(planned):
        time.sleep(0.2)
        assert out.getvalue() == ""
        record("r1", "finished")
        end = time.monotonic() + 5
        while not out.getvalue() and time.monotonic() < end:
            time.sleep(0.05)
        assert out.getvalue().startswith("run 2 of 3: mean, seed 1: finished; ")
        assert "2 left, about " in out.getvalue()
    teller.finished(planned[1])
    teller.failed(planned[0], Ended("failed", "broken"))
    assert out.getvalue().count("seed 1") == 1
    assert out.getvalue().splitlines()[-1] == "mean, seed 0 failed: broken; the others go on"
