"""A server on this machine: started from a list of arguments on a free port, waited for, and ended with its starter."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import psutil

from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, names_secret, strike

HOST = "127.0.0.1"
PORT = "{port}"
"""Stands in the arguments for the port, which is chosen when the server starts."""
POLL_SECONDS = 0.5
ASK_SECONDS = 5.0
"""How long one look whether the server is ready may take."""
END_SECONDS = 25.0
"""How long the guard may take to end a server before it is killed, whereupon the kernel kills the server."""
PORTS = 3
"""Ports that are tried where another process takes the chosen one first."""
SHOWN_LINES = 12
"""Last lines of a server's log that an error shows."""
_OF_A_TEAM = re.compile(
    r"(RANK|LOCAL_RANK|GROUP_RANK|ROLE_RANK|ROLE_NAME|WORLD_SIZE|LOCAL_WORLD_SIZE|GROUP_WORLD_SIZE|ROLE_WORLD_SIZE"
    r"|MASTER_ADDR|MASTER_PORT|TORCHELASTIC_.*|TORCH_NCCL_.*|ACCELERATE_.*|FSDP_.*)"
)
"""Variables by which a launcher tells processes that they belong together: a server would take them for its own."""
_SECRET = re.compile(r"(?i).*(key|token|secret|secret_.*|password|passwd|pass|pat|credentials?)")
"""Names of variables that hold what a server of this machine has no use for."""
_FAILED = re.compile(r"(?:^|\] )[\w.]*(?:Error|Exception): \S")
"""How the first of the reasons looks that a program in Python gives for its end."""
_STATISTICS = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class ServerCommand(NamedTuple):
    """A server as it is to be started.

    Attributes:
        arguments: The program and its arguments, with `PORT` in the place of the port.
        health: Path that answers 200 when it is ready.
        seconds: Within which that must be.
        setting: The config key of the command, for errors.
    """

    arguments: tuple[str, ...]
    health: str
    seconds: float
    setting: str


class Server:
    """A server that answers.

    Attributes:
        wanted: How it was started.
        port: Its port.
    """

    def __init__(
        self, wanted: ServerCommand, port: int, process: subprocess.Popen[bytes], log: Path, begun: int
    ) -> None:
        self.wanted, self.port = wanted, port
        self._process, self._log, self._begun = process, log, begun

    @property
    def address(self) -> str:
        """Return scheme, host and port."""
        return f"http://{HOST}:{self.port}"

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a path; status 0 and the reason where no answer came."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's ports
        try:
            with opener.open(self.address + path, timeout=ASK_SECONDS) as answer:
                return answer.status, answer.read(1_000_000).decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, ""
        except (OSError, ValueError) as error:
            return 0, str(getattr(error, "reason", error))

    def told(self, paths: Sequence[str], field: str) -> str | None:
        """Return a text that one of the paths tells in a field of its JSON."""
        for path in paths:
            with contextlib.suppress(ValueError, AttributeError):
                value = json.loads(self.get(path)[1]).get(field)
                if isinstance(value, str) and value:
                    return value
        return None

    def ended(self) -> UserError | None:
        """Return the error that tells how the server ended; None while it runs."""
        code = self._process.poll()
        return None if code is None else self._error(f"ended with code {code}")

    def end(self) -> None:
        """End the server and all that it started."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self, tick: Callable[[], None]) -> bool:
        """Wait until the server is ready; return False where another process has its port.

        Raises:
            UserError: It ended, or was not ready in time.
        """
        limit, status, reason = time.monotonic() + self.wanted.seconds, 0, ""
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                if _taken(self.port):
                    return False
                raise self._error(f"ended with code {self._process.returncode} before it answered")
            status, reason = self.get(self.wanted.health)
            if status == 200 and self._listens():
                return True
            tick()
            time.sleep(POLL_SECONDS)
        told = f"status {status}" if status else reason or "no answer"
        if status == 200:
            told = "it is another process that answers there"
        raise self._error(
            f"was not ready within {self.wanted.seconds:g} s ({self.address}{self.wanted.health}: {told})",
            "raise generation.start_timeout, or mend generation.health; ",
        )

    def _listens(self) -> bool:
        """Say whether the port is the server's and not of another process that happens to answer."""
        try:
            own = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.Error:
            return False
        for process in own:
            try:
                held = process.net_connections(kind="tcp")
            except psutil.NoSuchProcess:
                continue
            except psutil.Error:
                return True  # where the system does not tell
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == self.port for one in held):
                return True
        return False

    def _error(self, what: str, remedy: str = "") -> UserError:
        printed = lines_since(self._log, self._begun)
        lines, reason = printed[-SHOWN_LINES:], next(filter(_FAILED.search, printed), "")
        shown = "".join(f"\n    {line}" for line in lines)
        return UserError(
            f"the server of {self.wanted.setting} {what}" + (f": {reason}" if reason else ""),
            f"{remedy}its log is {self._log}" + (f", which ends with:{shown}" if lines else ", and is empty"),
        )


class Servers:
    """The server that a worker needs now, kept from one stage to the next that needs the same; a context manager.

    Args:
        log: File that what servers print is added to.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._running: Server | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the server, where one runs."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def running(self, wanted: ServerCommand) -> Server | None:
        """Return the server that runs as it is wanted, if one does."""
        server = self._running
        return server if server is not None and server.wanted == wanted and server.ended() is None else None

    def started(self, wanted: ServerCommand, tick: Callable[[], None]) -> Server:
        """Return a server that is ready: the running one, or a new one in its place.

        Args:
            wanted: How it is started.
            tick: Called while it is waited for.

        Raises:
            UserError: There is no such program, it ended before it answered, or was not ready in time.
        """
        if (server := self.running(wanted)) is not None:
            return server
        self.end()
        check_program(wanted.arguments[0], wanted.setting)
        for _ in range(PORTS):
            self._running = self._start(wanted, free_port())
            try:
                if self._running.wait(tick):
                    return self._running
            except BaseException:
                self.end()
                raise
            self.end()
        raise UserError(
            f"the server of {wanted.setting} ended {PORTS} times while another process took its port",
            f"check that the command listens on {PORT}; its log is {self._log}",
        )

    def _start(self, wanted: ServerCommand, port: int) -> Server:
        arguments = [word.replace(PORT, str(port)) for word in wanted.arguments]
        root = str(Path(__file__).resolve().parents[2])
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(arguments)}\n".encode())
            log.flush()
            begun = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-c", _GUARD, root, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                close_fds=False,  # what is handed down to this process, the locks of its devices, is handed on
                env=environment(os.environ),
            )
        return Server(wanted, port, process, self._log, begun)


_GUARD = (
    "import sys; sys.path.append(sys.argv[1]); from notus_exp.machine import guard; sys.exit(guard.main(sys.argv[2:]))"
)
"""Runs the guard from where this package lies, without a PYTHONPATH that the server would inherit."""


def environment(given: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """Return the variables of a server: without secrets, and without those of a launcher of several processes."""
    kept = {name: value for name, value in given.items() if not (_OF_A_TEAM.fullmatch(name) or _is_secret(name, value))}
    if "RANK" in given:
        kept.pop("OMP_NUM_THREADS", None)  # which torchrun sets to 1
    return {**_STATISTICS, **kept, "PATH": search_path(), "PYTHONUNBUFFERED": "1"}


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET.fullmatch(name)) or names_secret(name) or without_credentials(value) != value


def search_path() -> str:
    """Return where programs are looked for: first beside this interpreter, whose environment need not be active."""
    return os.pathsep.join([str(Path(sys.executable).parent), *filter(None, [os.environ.get("PATH")])])


def check_program(program: str, setting: str) -> None:
    """Check that a program is there.

    Raises:
        UserError: It is not, or cannot be run.
    """
    if shutil.which(program, path=search_path()) is None:
        raise UserError(
            f"{setting}: there is no program {program!r} on this machine",
            "install it, or give the path of its program in an environment of its own",
        )


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        number: Any = held.getsockname()[1]
        return int(number)


def lines_since(log: Path, begun: int) -> list[str]:
    """Return the lines that a server printed, the last 64,000 bytes of them at most, without secrets.

    Args:
        log: The file.
        begun: Bytes of it that were there before.
    """
    with log.open("rb") as stream:
        stream.seek(max(begun, log.stat().st_size - 64_000))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.rstrip()[:500] for line in text.splitlines() if line.strip()]
    return [strike(line) for line in lines]


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
