"""Workers for consecutive runs of a study, forked from a process that has loaded torch and TRL already.

Loading them takes a worker seconds. So while `keeping_warm` is open the first worker has a process started that loads
them once and forks each worker (`fork_server.py`): a process of its own, with the arguments, environment, folder and
streams that it was started with, whose memory and state end with it. What the parent started (`stand_in.py`) stands
for it: it hands on signals, the worker is killed where it is killed, and it ends with the worker's exit code or signal.
A worker is started as ever where the system cannot do this, where the environment says anything else to the libraries
than it did when they were loaded, and on a CUDA device of which a forked process cannot make use.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
LOADED = (
    *("notus_exp.models.base_model", "notus_exp.models.reference", "notus_exp.models.likelihoods"),
    *("notus_exp.training.dpo", "notus_exp.training.trainer", "notus_exp.evaluation.generations"),
    *("notus_exp.run.execution", "notus_exp.run.worker"),
)
"""Modules that load what workers need."""

WORKER = "notus_exp.run.worker_process"


class ForkServer:
    """The process that forks workers, from its first use to `end`.

    Args:
        loaded: Modules that it loads.
    """

    def __init__(self, loaded: Sequence[str] = LOADED) -> None:
        self._loaded = loaded
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def command(self, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Return what starts a worker by a fork in place of `python -m MODULE ...`; the command itself if that fails.

        Args:
            command: Begins with this Python and `-m`.
            environment: The worker's.
        """
        if self._process is None and not self._address:
            with suppress(OSError):  # no such sockets, or too long a path: workers are started as ever
                self._start(environment)
        if self._process is None or self._process.poll() is not None:
            self._leave()
            return [*command]
        python, *rest = command
        return [python, "-I", "-S", str(HERE / "stand_in.py"), self._address, python, *rest]

    def _start(self, environment: Mapping[str, str]) -> None:
        self._address = str(Path(tempfile.mkdtemp(prefix="notus-exp-")) / "socket")  # no other user may enter it
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self._address)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__name__}.fork_server", str(listener.fileno()), *self._loaded],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},  # the other check makes CUDA fail in a fork
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def end(self) -> None:
        """End it, whatever it loads just now; where this process dies in any way it ends with its standard input."""
        if self._process is not None and self._process.stdin:
            self._process.stdin.close()
            self._process.terminate()
            self._process.wait()
        self._leave()

    def _leave(self) -> None:
        if self._address:
            shutil.rmtree(Path(self._address).parent, ignore_errors=True)


_server: ForkServer | None = None


@contextmanager
def keeping_warm(loaded: Sequence[str] = LOADED) -> Iterator[None]:
    """Fork the workers that are started meanwhile in this process, where the system can (Linux)."""
    global _server
    before, _server = _server, _server or (ForkServer(loaded) if hasattr(os, "pidfd_open") else None)
    try:
        yield
    finally:
        if _server is not None and before is None:
            _server.end()
        _server = before


def warm(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command that starts a worker: by a fork within `keeping_warm`, else as it is, as torchrun is."""
    forked = _server is not None and [*command[:3]] == [sys.executable, "-m", WORKER]
    return _server.command(command, environment) if _server and forked else [*command]
