"""Signs of life: a worker is ended only where nothing of it goes on, and by a reason that names who hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from notus_exp.run.heartbeat import Beat, Heartbeat, lives, read_beats
from notus_exp.run.watchdog import LONGEST_LOOK, START_SECONDS, Watchdog, end_processes


class World:
    """A worker's files and a clock, which only the test moves."""

    def __init__(self, folder: Path, seconds: float = 60.0) -> None:
        self.time, self.folder, self.events = 0.0, folder, folder / "events.jsonl"
        self.watchdog = Watchdog(folder, self.events, seconds, lambda: self.time)

    def beat(self, rank: int, beats: int, moved: int) -> None:
        beat = Beat(rank, 1, "host", beats, moved)
        (self.folder / f"{rank}.json").write_text(json.dumps(beat._asdict()) + "\n")

    def after(self, seconds: float) -> str | None:
        found = None
        for _ in range(int(seconds)):
            self.time += 1.0
            found = self.watchdog.look()
        return found


def test_events_and_a_process_that_goes_on_are_signs_of_life(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(5):
        world.beat(0, number, number)
        world.beat(1, number, 0)  # waits for the other
        assert world.after(50) is None
    for number in range(5):
        world.beat(0, 10 + number, 5)
        world.beat(1, 10 + number, 0)
        world.events.write_text("x" * number)
        assert world.after(50) is None
    assert world.after(59) is not None


def test_processes_that_wait_for_each_other_are_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(70):
        world.beat(0, number, 0)
        world.beat(1, number, 0)
        said = world.after(1)
    assert said == "its processes wait for each other"


def test_the_process_that_does_not_answer_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(70):
        world.beat(0, number, 0)
        world.beat(1, 3, 0)
        said = world.after(1)
    assert said == "process 1 of 2 does not answer, and the others wait for it"


def test_a_process_that_does_not_answer_ends_a_run_also_where_the_others_go_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(61):
        world.beat(0, number, number)
        world.beat(1, 3, 0)
        assert world.after(1) is None
    world.beat(0, 100, 100)
    assert world.after(1) == "process 1 of 2 does not answer, and the others wait for it"


def test_a_single_process_is_told_apart(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.beat(0, 1, 1)
    assert world.after(61) is None
    assert world.after(1) == "its process does not answer"


def test_processes_are_given_time_to_begin(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.after(START_SECONDS) is None
    assert world.after(1) == "no process of it has begun"


def test_time_in_which_nothing_ran_is_not_counted(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.beat(0, 1, 1)
    world.after(1)
    world.time += 10_000.0  # a frozen machine
    assert world.watchdog.look() is None
    assert world.after(60 - LONGEST_LOOK) is None
    assert world.after(1) is not None


def moved(folder: Path) -> int:
    return read_beats(folder)[0].moved


def test_a_thread_that_stands_still_does_not_move_where_it_must(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path, 0, watchdog=0.1)  # ten beats a second
    first = moved(tmp_path)
    threading.Event().wait(0.5)
    assert moved(tmp_path) > first, "it may wait for what takes long"
    with heart.must_move():
        before = moved(tmp_path)
        threading.Event().wait(0.6)
        assert moved(tmp_path) <= before + 1, "that it came here"
        ends = time.monotonic() + 0.5
        while time.monotonic() < ends:
            sum(range(1000))
        assert moved(tmp_path) > before + 1
    (beat,) = read_beats(tmp_path)
    assert (beat.rank, beat.pid) == (0, os.getpid())
    assert lives(beat, tmp_path)


def test_a_half_written_beat_is_left_out(tmp_path: Path) -> None:
    World(tmp_path).beat(0, 1, 1)
    (tmp_path / "1.json").write_text('{"rank": 1')
    assert [beat.rank for beat in read_beats(tmp_path)] == [0]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_process_that_is_left_is_killed_and_one_that_has_ended_is_not_waited_for(
    tmp_path: Path, stopped: bool
) -> None:
    program = """
import sys, time
from pathlib import Path
from notus_exp.run.heartbeat import Heartbeat
Heartbeat(Path(sys.argv[1]), 3, None)
print(flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (beat,) = read_beats(tmp_path)
        assert lives(beat, tmp_path)
        process.send_signal(signal.SIGSTOP if stopped else signal.SIGKILL)
        if not stopped:
            process.wait()
        start = time.monotonic()
        end_processes(tmp_path, 0.3)
        assert process.wait(5) == -signal.SIGKILL
        assert stopped or time.monotonic() - start < 0.2
        assert not lives(beat, tmp_path)
