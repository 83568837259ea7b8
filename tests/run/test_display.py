"""What the terminal shows while a run goes on: bars, lines in a log, and a line for each run of a study."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from notus_exp.disk.events import PROGRESS, Event
from notus_exp.reporting.console import make_console, verbose
from notus_exp.reporting.tables import lasting
from notus_exp.reporting.texts import QUIET, SHOWN, VERBOSE
from notus_exp.run import display
from notus_exp.run.display import Display, in_a_line
from notus_exp.run.execution import FINISHED, STARTED
from notus_exp.study.launching import telling
from notus_exp.study.launching.planned import Planned

TRAINING = [
    Event(0.0, "policy", 0, {STARTED: 1.0}),
    Event(0.0, "policy", 5, {PROGRESS: 0.5, "loss": 0.69314, "accuracy": 0.75}),
    Event(0.0, "policy", 10, {FINISHED: 1.0}),
]


def shown(*, width: int = 120, terminal: bool = False, brief: bool = False) -> str:
    out = io.StringIO()
    with Display(
        Console(file=out, width=width, force_terminal=terminal, markup=False, highlight=False, color_system=None),
        brief=brief,
    ) as screen:
        for event in TRAINING:
            screen.show(event)
    return out.getvalue()


def test_the_line_of_a_training_that_ended_has_its_last_loss() -> None:
    assert shown().splitlines() == ["[policy] started", "[policy] 100%  loss 0.693  accuracy 0.75"]


def test_the_bar_of_a_training_shows_the_whole_loss_at_80_columns_and_is_full_at_the_end() -> None:
    last = [line for line in shown(width=80, terminal=True).splitlines() if "policy" in line][-1]
    assert "100%" in last
    assert "loss 0.693" in last
    assert "…" not in last


def _drawn(*events: Event) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, markup=False, highlight=False, color_system=None)
    with Display(console) as screen:
        for event in events:
            screen.show(event)
        time.sleep(0.25)
        return out.getvalue()


def test_a_bar_is_full_when_the_stage_has_ended_and_not_when_it_has_counted_to_its_end() -> None:
    begun = Event(0.0, "feedback", 0, {STARTED: 1.0})
    counted = Event(0.0, "feedback", 9, {PROGRESS: 1.0})
    assert "100%" not in _drawn(begun, counted)
    assert " 99% " in _drawn(begun, counted)
    assert "100%" in _drawn(begun, counted, Event(0.0, "feedback", 9, {FINISHED: 1.0}))


def test_a_stage_without_a_count_shows_that_it_goes_on_and_no_share() -> None:
    drawn = _drawn(Event(0.0, "base_model", 0, {STARTED: 1.0}), Event(0.0, "base_model", 0, {PROGRESS: 0.0}))
    assert "base_model" in drawn and "%" not in drawn and "0 s" in drawn


def test_until_a_stage_begins_there_is_what_is_waited_for() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=80, force_terminal=True, color_system=None)) as screen:
        screen.await_start("starting the worker")
        time.sleep(0.25)
        assert "starting the worker" in out.getvalue()
        screen.show(Event(0.0, "base_model", 0, {STARTED: 1.0}))
        time.sleep(0.25)
        assert "starting the worker" not in out.getvalue()[-80:]
    assert "starting" not in shown()


def test_a_line_in_a_log_has_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    out = io.StringIO()
    with Display(Console(file=out, width=200, markup=False)) as screen:
        screen.show(TRAINING[0])
        clock[0] = 1800.0
        screen.show(Event(0.0, "policy", 5, {PROGRESS: 0.25, "loss": 0.69314}))
        clock[0] = 1805.0  # less than LINE_EVERY later
        screen.show(Event(0.0, "policy", 6, {PROGRESS: 0.3, "loss": 0.6}))
    assert out.getvalue().splitlines() == ["[policy] started", "[policy]  25%, about 1.5 h left  loss 0.693"]


def test_a_studys_run_has_no_lines_of_its_own_in_a_log() -> None:
    assert shown(brief=True) == ""


@pytest.mark.parametrize(("seconds", "text"), [(5.2, "5 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_a_time_is_told_in_the_unit_in_which_it_is_read(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_a_quiet_command_shows_nothing_on_standard_error_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHOWN, QUIET)
    assert make_console(sys.stderr).quiet
    assert not make_console(sys.stdout).quiet
    assert not verbose()
    monkeypatch.setenv(SHOWN, VERBOSE)
    assert not make_console(sys.stderr).quiet
    assert verbose()


def _estimate(value: float) -> Any:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 9}


def test_a_run_is_told_by_its_studys_metric_or_by_its_first_headline() -> None:
    metrics = {"verifiable/strict": _estimate(0.3), "preferences/accuracy/average": _estimate(0.5)}
    assert in_a_line(metrics, "verifiable/strict") == "verifiable/strict 0.30 [0.20 to 0.40]"
    assert in_a_line(metrics, "other") == "preferences/accuracy/average 0.50 [0.40 to 0.60]"
    assert in_a_line({}, "other") == ""


def test_a_study_tells_each_run_in_a_line_and_a_note_of_several_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(folder: Path, run: str) -> dict[str, Any]:
        return {"status": "finished", "config": {}, "metrics": {"verifiable/strict": _estimate(0.3)}}

    study = SimpleNamespace(metric="verifiable/strict")
    runs: Any = [
        SimpleNamespace(id=f"r{n}", folder=Path(f"/out/r{n}"), config=SimpleNamespace(study=study)) for n in (1, 2)
    ]
    planned = [Planned("mean", seed, [], run) for seed, run in enumerate(runs)]
    monkeypatch.setattr(telling, "read_run", record)
    monkeypatch.setattr(telling, "notes_of", lambda record: ["3 answers are cut"])
    monkeypatch.setattr(telling.time, "monotonic", iter([0.0, 40.0, 80.0]).__next__)
    out = io.StringIO()
    teller = telling.RunTeller(planned, tmp_path, Console(file=out, width=200), 2)
    for one in planned:
        teller.finished(one)
    teller.notes()
    assert out.getvalue().splitlines() == [
        "run 1 of 2: mean, seed 0: finished, verifiable/strict 0.30 [0.20 to 0.40]; /out/r1; 1 left, about 40 s",
        "run 2 of 2: mean, seed 1: finished, verifiable/strict 0.30 [0.20 to 0.40]; /out/r2",
        "note (2 of 2 runs): 3 answers are cut",
    ]
