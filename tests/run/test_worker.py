"""A worker of several processes, each in a session of its own as torchrun starts them: none outlives its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from notus_exp.config.hardware_settings import Device, Launch
from notus_exp.errors import UserError
from notus_exp.machine import devices
from notus_exp.run import worker as workers
from notus_exp.run.heartbeat import lives, read_beats
from support.recipes import machine

PROCESS = """
import sys, threading, time
from pathlib import Path
from notus_exp.run.heartbeat import Heartbeat
from notus_exp.run.worker_process import _end_with_parent
threading.Thread(target=_end_with_parent, daemon=True).start()
Heartbeat(Path(sys.argv[1]), int(sys.argv[2]), 2.0)
time.sleep(60)
"""
LAUNCHER = f"""
import subprocess, sys
command = [sys.executable, "-c", {PROCESS!r}, sys.argv[1]]
for process in [subprocess.Popen([*command, rank], start_new_session=True) for rank in "01"]:
    process.wait()
"""
PARENT = f"""
import sys
from pathlib import Path
from notus_exp.run.worker import run_worker
folder = Path(sys.argv[1])
run_worker([sys.executable, "-c", {LAUNCHER!r}, str(folder)], folder / "log", beats=folder)
"""


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


def alive(folder: Path) -> int:
    return sum(lives(beat, folder) for beat in read_beats(folder))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(tmp_path: Path, number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stderr=subprocess.DEVNULL) as parent:
        try:
            until(lambda: alive(tmp_path) == 2)
            parent.send_signal(number)
            parent.wait(20)
            until(lambda: alive(tmp_path) == 0)
        finally:
            parent.kill()


def test_a_process_that_is_stopped_is_ended_with_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LEAVE_SECONDS", 0.3)
    stopped: list[int] = []

    def check() -> None:
        if alive(tmp_path) == 2 and not stopped:
            stopped.append(read_beats(tmp_path)[1].pid)
            subprocess.run(["kill", "-STOP", str(stopped[0])], check=True)
            raise UserError("it hangs")

    with pytest.raises(UserError, match="it hangs"):
        workers.run_worker(
            [sys.executable, "-c", LAUNCHER, str(tmp_path)], tmp_path / "log", beats=tmp_path, check=check
        )
    assert alive(tmp_path) == 0


def test_a_process_that_is_started_by_hand_stays_without_a_pipe() -> None:
    program = "from notus_exp.run.worker_process import _end_with_parent; _end_with_parent(); print('stays')"
    for stdin, said in ((subprocess.DEVNULL, "stays\n"), (subprocess.PIPE, "")):
        done = subprocess.Popen([sys.executable, "-c", program], stdin=stdin, stdout=subprocess.PIPE, text=True)
        assert done.communicate(timeout=60)[0] == said


def test_a_worker_leases_the_devices_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(devices, "visible_devices", list)
    monkeypatch.setattr(devices, "leased", lambda number, *_: asked.append(number) or nullcontext(devices.NO_LEASE))
    of_two = machine(device=Device.cuda, launch=Launch.fsdp2, processes=16, nodes=2)
    for hardware in (of_two, machine(device=Device.cuda), machine(), machine(device=Device.mps)):
        with workers._lease(hardware, print) as lease:
            assert lease is devices.NO_LEASE
    assert asked == [8, 1]
