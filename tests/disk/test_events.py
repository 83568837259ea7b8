"""The metric stream: what is written is read, half lines are left out, resumed stages do not repeat themselves."""

from __future__ import annotations

import time
from pathlib import Path

from notus_exp.disk.events import PROGRESS, Event, EventWriter, read, replay
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


def test_a_resumed_stage_forgets_later_events_and_replays_earlier_ones(tmp_path: Path) -> None:
    kept, followed = tmp_path / "kept", tmp_path / "followed"
    before = EventWriter("policy", kept)
    for step in range(1, 6):
        before.emit(step, {"loss": float(step)})
    EventWriter("policy", kept, followed).forget_after(3)
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
