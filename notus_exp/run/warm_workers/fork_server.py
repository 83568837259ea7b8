"""Loads modules, and forks a worker for whoever connects: `python -m ...fork_server DESCRIPTOR MODULES`.

The descriptor is of a socket that listens. The process ends with its standard input, that is with who started it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "TORCH", "OMP_", "MKL_", "CUDA", "PYTHON", "TRL_", "ACCELERATE_", "LD_")
"""Begin the names of variables that libraries read when they are imported."""
NOT_READ = ("TORCHELASTIC_", "TORCH_NCCL_ASYNC_ERROR_HANDLING", "CUDA_VISIBLE_DEVICES")
"""Begin those among them that are read when a process first uses a device or its group."""
BEGUN = b"b"
"""Is said once a worker is there: after it nobody starts another for the same one."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal for a process whose parent has ended."""
CUDA = Path("/dev/nvidiactl")
"""There where CUDA is."""


STARTED = {**os.environ}


def main(listener: socket.socket, modules: Sequence[str]) -> None:
    """Fork workers until standard input ends; the libraries are loaded when the first is asked for."""
    sys.modules["wandb"] = None  # type: ignore[assignment]  # as a worker does
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    loaded = False
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:  # nothing is ever said there
            break
        if not loaded:
            for module in modules:
                importlib.import_module(module)
            loaded = True
            if CUDA.exists() and not _forks_use_cuda():
                break
        connection, _ = listener.accept()
        if os.fork() == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the pipe whose end ends the server
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _mind(connection)
            return
        connection.close()
    shutil.rmtree(Path(listener.getsockname()).parent)


def _forks_use_cuda() -> bool:
    """Say whether a forked process can use a CUDA device: not where a library has touched the driver here."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    tried = os.fork()
    if tried == 0:
        try:
            sys.modules["torch"].zeros(1, device="cuda")
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(tried, 0)[1]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return status == 0


def _mind(connection: socket.socket) -> None:
    """Fork a worker and tell its end, or end it where the one that asked has ended; in the worker, be it."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    asked = json.loads(_exactly(connection, struct.unpack("!I", head)[0]))
    if _of_libraries(asked["environment"]) != _of_libraries(STARTED):
        os._exit(0)
    worker = os.fork()
    if worker == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _be(**asked)
    for stream in streams:
        os.close(stream)
    connection.send(BEGUN)
    ended = os.pidfd_open(worker)
    while True:
        ready, _, _ = select.select([connection.fileno(), ended], [], [])
        if ended in ready:
            connection.send(struct.pack("!i", os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])))
            os._exit(0)
        said = connection.recv(1)
        os.kill(worker, said[0] if said else signal.SIGKILL)
        if not said:
            os._exit(0)


def _be(module: str, arguments: list[str], folder: str, environment: dict[str, str], python: str) -> NoReturn:
    """Do what `python -m MODULE ARGUMENTS` does there; what it starts it starts with `python`."""
    sys.executable = python
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


def _of_libraries(environment: dict[str, str]) -> dict[str, str]:
    read = {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}
    return {name: value for name, value in read.items() if not name.startswith(NOT_READ)}


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:  # whoever asked has ended
            os._exit(0)
        content += part
    return content


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
