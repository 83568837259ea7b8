"""Leases of CUDA devices, with several processes and devices that need not exist."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notus_exp.errors import UserError
from notus_exp.machine import cuda as hardware
from notus_exp.machine import devices
from notus_exp.machine.devices import CudaDevice, leased, visible_devices
from notus_exp.run.worker import run_worker
from support.places import ROOT

FOUR = [CudaDevice(str(index), f"uuid-{index}") for index in range(4)]

HOLD = """
import sys
from pathlib import Path
from notus_exp.machine.devices import CudaDevice, leased
folder, number, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
visible = [CudaDevice(str(index), f"uuid-{index}") for index in range(count)]
with leased(number, visible, lambda: print("waiting", flush=True), folder=folder, poll_seconds=0.05) as lease:
    print(",".join(lease.devices), flush=True)
    sys.stdin.readline()
"""
WITH_WORKER = """
import subprocess, sys
from pathlib import Path
from notus_exp.machine.devices import CudaDevice, leased
with leased(1, [CudaDevice("0", "uuid-0")], lambda: None, folder=Path(sys.argv[1])) as lease:
    print(subprocess.Popen(["sleep", "60"], pass_fds=lease.descriptors, stdout=subprocess.DEVNULL).pid, flush=True)
    sys.stdin.readline()
"""
CONTEND = """
import random, sys, time
from pathlib import Path
from notus_exp.machine.devices import CudaDevice, leased
folder, number, marks = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
visible = [CudaDevice(str(index), f"uuid-{index}") for index in range(3)]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    with leased(number, visible, lambda: None, folder=folder, poll_seconds=0.002) as lease:
        held = [marks / device for device in lease.devices]
        for mark in held:
            mark.touch(exist_ok=False)  # fails where somebody else is on the device
        time.sleep(random.uniform(0, 0.004))
        for mark in held:
            mark.unlink()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def never() -> None:
    pytest.fail("nothing to wait for")


def test_holders_get_different_devices_and_give_them_back(tmp_path: Path) -> None:
    with leased(1, FOUR, never, folder=tmp_path) as one, leased(3, FOUR, never, folder=tmp_path) as others:
        assert one.devices == ["0"]
        assert others.devices == ["1", "2", "3"]
    with leased(4, FOUR, never, folder=tmp_path) as all_of_them:
        assert all_of_them.devices == ["0", "1", "2", "3"]


def test_devices_are_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), leased(4, FOUR, never, folder=tmp_path):
        raise ZeroDivisionError
    with leased(4, FOUR, never, folder=tmp_path) as lease:
        assert len(lease.devices) == 4


def test_a_device_is_the_same_whatever_a_process_calls_it(tmp_path: Path) -> None:
    shown_second = [CudaDevice("0", "uuid-1")]
    with leased(1, shown_second, never, folder=tmp_path), leased(2, FOUR, never, folder=tmp_path) as lease:
        assert lease.devices == ["0", "2"]


def test_processes_that_contend_never_share_a_device(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "marks").mkdir()
    # 1, 2, 2 and 3 of 3 devices: who takes one by one would wait for the other for ever
    processes = [start(CONTEND, tmp_path / "locks", number, tmp_path / "marks") for number in (1, 2, 2, 3)]
    assert [line(process) for process in processes] == ["ready"] * 4
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert not list((tmp_path / "marks").iterdir())


def test_a_killed_holder_frees_its_devices_and_who_waits_says_so_once(tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path, 2, 2)
    assert line(holder) == "0,1"
    waiter = start(HOLD, tmp_path, 1, 2)
    assert line(waiter) == "waiting"
    time.sleep(0.3)
    holder.kill()
    holder.wait()
    assert line(waiter) == "0", "and not another 'waiting'"
    waiter.communicate("\n", timeout=20)
    assert waiter.returncode == 0


def test_who_waits_holds_nothing_meanwhile(tmp_path: Path) -> None:
    with leased(1, FOUR, never, folder=tmp_path) as lease:
        waiter = start(HOLD, tmp_path, 4, 4)
        assert line(waiter) == "waiting"
        with leased(3, FOUR, lambda: None, folder=tmp_path, poll_seconds=0.01) as rest:
            assert set(rest.devices).isdisjoint(lease.devices)
    assert line(waiter) == "0,1,2,3"
    waiter.communicate("\n", timeout=20)


def test_a_worker_that_outlives_its_killed_parent_keeps_the_device(tmp_path: Path) -> None:
    holder = start(WITH_WORKER, tmp_path)
    worker = int(line(holder))
    holder.kill()
    holder.wait()
    waiter = start(HOLD, tmp_path, 1, 1)
    assert line(waiter) == "waiting"
    os.kill(worker, signal.SIGKILL)
    assert line(waiter) == "0"
    waiter.communicate("\n", timeout=20)


def test_a_worker_sees_its_devices_and_holds_them(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], os.fstat(int(sys.argv[1])).st_ino)"
    with leased(2, FOUR[1:], never, folder=tmp_path) as lease:
        first = lease.descriptors[0]
        assert run_worker([sys.executable, "-c", code, str(first)], tmp_path / "log", lease) == 0
        inode = os.fstat(first).st_ino
    assert (tmp_path / "log").read_text().split() == ["1,2", str(inode)]


def test_on_the_cpu_nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code = "import os; print('CUDA_VISIBLE_DEVICES' in os.environ)"
    assert run_worker([sys.executable, "-c", code], tmp_path / "log") == 0
    assert (tmp_path / "log").read_text() == "False\n"


def test_too_few_devices_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(UserError, match=r"needs 2 CUDA devices .*1 visible \(CUDA_VISIBLE_DEVICES=1\)"):
        leased(2, FOUR[:1], never, folder=tmp_path).__enter__()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(UserError, match=r"0 visible\n.*hardware=cpu"):
        leased(1, [], never, folder=tmp_path).__enter__()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "uuids", "expected"),
    [
        (None, ["a", "b"], [("0", "a"), ("1", "b")]),
        ("2, 0", ["c", "a"], [("2", "c"), ("0", "a")]),
        ("GPU-1b2c", ["1b2c"], [("GPU-1b2c", "1b2c")]),
        ("0,99,1", ["a"], [("0", "a")]),
        ("3", [""], [("3", "3")]),
        ("MIG-GPU-1/2/0", [""], [("MIG-GPU-1/2/0", "MIG-GPU-1_2_0")]),
        ("", [], []),
        ("-1", [], []),
    ],
)
def test_visible_devices_are_those_that_a_scheduler_left(
    monkeypatch: pytest.MonkeyPatch, given: str | None, uuids: list[str], expected: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr(devices, "cuda_uuids", lambda: uuids)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_devices() == expected


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver with two devices, whose UUIDs are 16 bytes of 0x00 and of 0x11."""

    def tell(change: Callable[..., None]) -> Callable[..., int]:
        return lambda *arguments: change(*arguments) or 0

    def count(where: Any) -> None:
        where._obj.value = 2

    def device(where: Any, index: int) -> None:
        where._obj.value = index

    def identity(where: Any, of: Any) -> None:
        where._obj[:] = [0x11 * of.value] * 16

    driver = SimpleNamespace(
        cuInit=lambda flags: 0, cuDeviceGetCount=tell(count), cuDeviceGet=tell(device), cuDeviceGetUuid=tell(identity)
    )
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cu130")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return driver


def test_the_driver_tells_count_and_uuids(driver: SimpleNamespace) -> None:
    assert hardware.cuda_devices() == 2
    assert hardware.ask_uuids() == [str(uuid.UUID(int=0)), "11111111-1111-1111-1111-111111111111"]


def test_the_driver_tells_names_and_memories(driver: SimpleNamespace) -> None:
    def name(where: Any, size: int, of: Any) -> int:
        where.value = f"device {of.value}".encode()
        return 0

    def memory(where: Any, of: Any) -> int:
        where._obj.value = (of.value + 1) * 40_000_000_000
        return 0

    driver.cuDeviceGetName = name
    assert hardware.cuda_models() == [("device 0", 0.0), ("device 1", 0.0)]
    driver.cuDeviceTotalMem_v2 = memory
    assert hardware.cuda_models() == [("device 0", 40.0), ("device 1", 80.0)]


def test_a_driver_that_tells_no_uuids_still_counts(driver: SimpleNamespace) -> None:
    del driver.cuDeviceGetUuid
    assert hardware.ask_uuids() == ["", ""]


def test_a_driver_that_fails_has_no_devices(driver: SimpleNamespace) -> None:
    driver.cuInit = lambda flags: 100
    assert hardware.ask_uuids() == []


def test_uuids_are_asked_in_a_process_of_its_own() -> None:
    assert len(hardware.cuda_uuids()) == hardware.cuda_devices()


def test_the_folder_of_locks_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "LOCKS", tmp_path)
    folder = devices.lock_folder()
    assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
    assert devices.lock_folder() == folder
    folder.chmod(0o770)
    with pytest.raises(UserError, match="not a folder of this user alone"):
        devices.lock_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not a folder of this user alone"):
        devices.lock_folder()
    folder.unlink()
    folder.touch(mode=0o600)
    with pytest.raises(UserError, match="not a folder of this user alone"):
        devices.lock_folder()


def test_leasing_imports_no_torch() -> None:
    code = "import sys, notus_exp.machine.devices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
