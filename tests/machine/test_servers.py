"""A server of the run's own: started, waited for, and gone whatever becomes of who started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from notus_exp.errors import UserError
from notus_exp.machine import servers
from notus_exp.machine.servers import ServerCommand, Servers
from support.engines import SCRIPT
from support.places import ROOT


def wanted(*more: str, seconds: float = 20.0, health: str = "/health") -> ServerCommand:
    arguments = (sys.executable, str(SCRIPT), "--port", "{port}", "--model", "m", *more)
    return ServerCommand(arguments, health, seconds, "generation.command")


def gone(pid: int, seconds: float = 15.0) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "POLL_SECONDS", 0.05)


def test_a_slow_server_is_waited_for_kept_and_ended_with_all_that_it_started(tmp_path: Path) -> None:
    ticks: list[None] = []
    orphan = tmp_path / "orphan"
    with Servers(tmp_path / "server.log") as kept:
        server = kept.started(wanted("--slow", "0.4", "--orphan", str(orphan)), lambda: ticks.append(None))
        assert server.get("/health")[0] == 200
        assert server.told(("/nothing", "/version"), "version") == "1.2.3"
        assert ticks, "whoever waits is told, so that a watchdog hears something"
        assert kept.started(server.wanted, lambda: None) is server
        asleep = int(orphan.read_text())
        assert psutil.pid_exists(asleep)
    assert gone(asleep)
    assert server.get("/health")[0] == 0


def test_another_command_takes_the_place_of_the_running_one(tmp_path: Path) -> None:
    with Servers(tmp_path / "server.log") as kept:
        first = kept.started(wanted(), lambda: None)
        second = kept.started(wanted("--adapter", "a"), lambda: None)
        assert second.get("/health")[0] == 200
        assert first.ended() is not None


def test_a_server_that_dies_at_its_start_is_told_with_its_log_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTUS_TEST_SECRET", "hunter2hunter2")
    monkeypatch.setenv("RANK", "3")
    with Servers(tmp_path / "server.log") as kept, pytest.raises(UserError) as error:
        kept.started(wanted("--die", "3"), lambda: None)
    assert "ended with code 3 before it answered: ValueError: this head is too small" in error.value.message
    assert "CUDA out of memory, as it were" in error.value.hint
    assert str(tmp_path / "server.log") in error.value.hint
    assert "None rank None" in (tmp_path / "server.log").read_text(), "neither secrets nor a launcher's variables"


def test_a_server_is_given_the_environment_without_secrets_and_without_a_launchers_variables() -> None:
    given = {
        "HOME": "/h",
        "HF_TOKEN": "x",
        "OPENAI_API_KEY": "x",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "0",
    }
    assert {"HOME", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM"} <= set(servers.environment(given))
    assert not {"HF_TOKEN", "OPENAI_API_KEY"} & set(servers.environment(given))
    launched = servers.environment({**given, "RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"})
    assert not {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "OMP_NUM_THREADS"} & set(launched)


def test_a_server_that_is_never_ready_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    with Servers(tmp_path / "server.log") as kept, pytest.raises(UserError) as error:
        kept.started(wanted("--never", seconds=3.0), lambda: None)
    assert "was not ready within 3 s" in error.value.message
    assert "status 503" in error.value.message
    assert error.value.hint.startswith("raise generation.start_timeout")
    pattern = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])]
    assert pattern == []


def test_a_program_that_is_not_there_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with Servers(tmp_path / "log") as kept, pytest.raises(UserError, match="no program 'no-such-engine'"):
        kept.started(ServerCommand(("no-such-engine", "{port}"), "/health", 1.0, "generation.command"), lambda: None)


def test_a_port_that_another_process_takes_meanwhile_is_given_up_for_another(tmp_path: Path) -> None:
    first = tmp_path / "port"
    holder = socket.socket()

    def squat() -> None:
        while not first.exists() or not first.read_text():
            time.sleep(0.01)
        holder.bind(("127.0.0.1", int(first.read_text())))
        holder.listen()

    thread = threading.Thread(target=squat)
    thread.start()
    with holder, Servers(tmp_path / "server.log") as kept:
        server = kept.started(wanted("--squat", str(first)), lambda: None)
        thread.join()
        assert server.port != int(first.read_text())
        assert server.get("/version")[0] == 200


def test_what_another_process_answers_on_the_port_is_not_taken_for_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Servers(tmp_path / "other.log") as theirs:
        port = theirs.started(wanted(), lambda: None).port
        monkeypatch.setattr(servers, "free_port", lambda: port)
        idle = ServerCommand(("sleep", "60"), "/health", 1.0, "generation.command")
        with Servers(tmp_path / "log") as kept, pytest.raises(UserError, match="another process that answers there"):
            kept.started(idle, lambda: None)


STARTER = """
import sys, time
from pathlib import Path
from notus_exp.machine.servers import Servers, ServerCommand
with Servers(Path(sys.argv[1])) as kept:
    kept.started(ServerCommand(tuple(sys.argv[2:]), "/health", 20.0, "x"), lambda: None)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_takes_its_server_along(tmp_path: Path, number: signal.Signals) -> None:
    orphan = tmp_path / "orphan"
    arguments = [*wanted("--orphan", str(orphan)).arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "log"), *arguments], stdout=subprocess.PIPE, env=environment
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"ready\n"
    of_it = psutil.Process(starter.pid).children(recursive=True)
    assert len(of_it) >= 3, "guard, server, and what that started"
    starter.send_signal(number)
    starter.wait()
    starter.stdout.close()
    assert all(gone(one.pid) for one in of_it)


def test_a_killed_guard_takes_the_server_along(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    with Servers(tmp_path / "log") as kept:
        server = kept.started(wanted(), lambda: None)
        guard = psutil.Process(server._process.pid)
        (child,) = guard.children()
        guard.kill()
        assert gone(child.pid)
        assert server.ended() is not None
