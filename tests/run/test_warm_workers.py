"""Workers that are forked from a process with the libraries: as those that are started, but for the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from notus_exp.run.warm_workers import ForkServer, keeping_warm, warm

MODULE = """
import os, sys, time
print(os.getppid(), "decimal" in sys.modules, sys.argv[1:], os.environ.get("GIVEN"), os.getcwd(), flush=True)
print(sys.stdin.read() if "read" in sys.argv else "", file=sys.stderr)
if "kept" in sys.modules: print("state of another")
sys.modules["kept"] = sys
time.sleep(60 if "stay" in sys.argv else 0)
sys.exit(7)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the system cannot watch a process's end")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    (tmp_path / "made.py").write_text(MODULE)
    made = ForkServer(["decimal"])
    yield made
    made.end()


def run(server: ForkServer, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, **environment}
    command = server.command([sys.executable, "-m", "made", *arguments], {**os.environ})
    assert "stand_in.py" in command[3]
    return subprocess.run(
        command, cwd=folder, env=given, input="said", capture_output=True, text=True, check=False, timeout=30
    )


def test_it_has_its_arguments_environment_folder_and_streams_and_ends_with_its_code(
    server: ForkServer, tmp_path: Path
) -> None:
    ended = run(server, tmp_path, "a", "read", GIVEN="yes")
    _, loaded, said = ended.stdout.split(" ", 2)
    assert ended.returncode == 7
    assert loaded == "True", "forked from what has the library"
    assert said == f"['a', 'read'] yes {tmp_path}\n"
    assert ended.stderr == "said\n"


def test_nothing_of_one_is_left_in_the_next(server: ForkServer, tmp_path: Path) -> None:
    assert [run(server, tmp_path).stdout.count("\n") for _ in range(2)] == [1, 1]


def test_other_words_to_the_libraries_start_a_worker_as_ever(server: ForkServer, tmp_path: Path) -> None:
    ended = run(server, tmp_path, "a", OMP_NUM_THREADS="7")
    assert ended.stdout.split(" ")[1] == "False"
    assert ended.returncode == 7
    assert run(server, tmp_path, CUDA_VISIBLE_DEVICES="3").stdout.split(" ")[1] == "True"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_where_what_stands_for_it_ends(server: ForkServer, tmp_path: Path, number: signal.Signals) -> None:
    command = server.command([sys.executable, "-m", "made", "stay"], {**os.environ})
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        minding = int(process.stdout.readline().split(" ")[0])  # of the process that forked it
        process.send_signal(number)
        assert process.wait(20) == -number
        for _ in range(100):
            if not Path(f"/proc/{minding}").exists():
                return
            time.sleep(0.1)
        raise AssertionError("the worker lives")


def test_where_the_process_between_is_killed_no_second_one_begins(server: ForkServer, tmp_path: Path) -> None:
    command = server.command([sys.executable, "-m", "made", "stay"], {**os.environ})
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        os.kill(int(process.stdout.readline().split(" ")[0]), signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        assert process.stdout.read() == "", "which ends when nobody is left who could write to it"


def test_without_a_server_or_with_one_that_died_it_is_started_as_ever(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(MODULE)
    server = ForkServer(["no_such_module"])
    command = server.command([sys.executable, "-m", "made"], {**os.environ})
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout.split(" ")[1]) == (7, "False")
    for _ in range(100):
        if server.command(["python", "-m", "made"], {}) == ["python", "-m", "made"]:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a server that is not there is asked for")
    server.end()


def test_only_workers_and_only_while_it_is_kept_warm() -> None:
    worker = [sys.executable, "-m", "notus_exp.run.worker_process", "job.json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *worker[1:]]
    assert warm(worker, os.environ) == worker
    with keeping_warm(["decimal"]):
        assert warm(torchrun, os.environ) == torchrun
        forked = warm(worker, os.environ)
        assert forked[-3:] == worker[1:]
        address = Path(forked[4])
        assert address.exists()
    assert not address.parent.exists(), "the server took its folder away"
    assert warm(worker, os.environ) == worker
