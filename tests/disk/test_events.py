"""The metric stream: what is written is read, half lines are left out, resumed stages do not repeat themselves."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from notus_exp.disk.events import PROGRESS, Event, EventWriter, read, replay
from notus_exp.run.display import Display
from notus_exp.run.worker import following


def test_kept_events_are_read_back_and_progress_is_only_followed(tmp_path: Path) -> None:
    writer = EventWriter("policy", tmp_path / "kept", tmp_path / "followed")
    writer.emit(1, {"train/loss": 0.7})
    writer.progress(1, 4, loss=0.7)
    assert [(e.stage, e.step, e.metrics) for e in read(tmp_path / "kept")] == [("policy", 1, {"train/loss": 0.7})]
    assert [e.metrics for e in read(tmp_path / "followed")] == [{"train/loss": 0.7}, {PROGRESS: 0.25, "loss": 0.7}]


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    EventWriter("policy", path).emit(1, {"a": 1.0})
    with path.open("a") as stream:
        stream.write('{"time": 1, "sta')
    assert [event.step for event in read(path)] == [1]


def test_a_resumed_stage_drops_later_events_and_replays_earlier_ones(tmp_path: Path) -> None:
    kept, followed = tmp_path / "kept", tmp_path / "followed"
    before = EventWriter("policy", kept)
    for step in range(1, 6):
        before.emit(step, {"loss": float(step)})
    written = kept.read_text().splitlines()
    EventWriter("policy", kept, followed).keep(sum(len(line) + 1 for line in written[:3]))
    assert kept.read_text().splitlines() == written[:3], "as an undisturbed stage wrote them"
    assert [event.step for event in read(kept)] == [1, 2, 3]
    assert [event.step for event in read(followed)] == [1, 2, 3]


def test_replay_appends_an_artifacts_events(tmp_path: Path) -> None:
    EventWriter("policy", tmp_path / "kept").emit(7, {"loss": 0.5})
    replay(tmp_path / "kept", tmp_path / "run")
    assert next(iter(read(tmp_path / "run"))).step == 7


def test_following_hands_every_line_over_even_in_halves_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text("")
    seen: list[Event] = []
    with following(path, [seen.append]):
        writer = EventWriter("policy", path)
        writer.emit(1, {"a": 1.0})
        with path.open("a") as stream:
            stream.write('{"time": 1, "stage": "policy", ')
            stream.flush()
            time.sleep(0.25)
            stream.write('"step": 2, "metrics": {}}\n')
        writer.emit(3, {"a": 3.0})
    assert [event.step for event in seen] == [1, 2, 3]


NO_EVENTS = [
    "{half",
    "[]",
    "3",
    '{"time": 1, "stage": "policy", "step": 2}',
    '{"time": "now", "stage": "policy", "step": 2, "metrics": {}}',
    '{"time": 1, "stage": 7, "step": 2, "metrics": {}}',
    '{"time": 1, "stage": "policy", "step": 2, "metrics": {"a": "b"}}',
    '{"time": 1, "stage": "policy", "step": null, "metrics": {}}',
]


def test_lines_that_are_no_events_are_left_out_counted_and_end_nobody(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    EventWriter("policy", path).emit(1, {"a": 1.0})
    with path.open("ab") as stream:
        stream.write("".join(f"{line}\n" for line in NO_EVENTS).encode() + b"\xff\n")
    EventWriter("policy", path).emit(3, {"a": 3.0})
    damaged: list[None] = []
    assert [event.step for event in read(path, lambda: damaged.append(None))] == [1, 3]
    assert len(damaged) == len(NO_EVENTS) + 1
    assert replay(path, tmp_path / "run") == len(NO_EVENTS) + 1
    seen: list[Event] = []
    with following(path, [seen.append]):
        pass
    assert [event.step for event in seen] == [1, 3]


def test_what_a_stage_says_reaches_the_user_and_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EventWriter("reference", tmp_path / "kept", tmp_path / "followed").say("a store [bold] is mended")
    [event] = read(tmp_path / "followed")
    assert event.said == "a store [bold] is mended"
    assert not (tmp_path / "kept").exists()
    out = io.StringIO()
    Display(Console(file=out, width=200)).show(event)
    assert out.getvalue() == "[reference] a store [bold] is mended\n"
    EventWriter("reference", tmp_path / "kept").say("nobody follows")
    assert capsys.readouterr().err == "nobody follows\n"
