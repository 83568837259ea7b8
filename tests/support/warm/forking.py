"""`python forking.py DESCRIPTOR`: loads what workers load, and forks one for whoever connects to the listener."""

from __future__ import annotations

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
from pathlib import Path

READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "TORCH", "OMP_", "MKL_", "CUDA", "PYTHON", "TRL_", "ACCELERATE_", "LD_")
"""Begin the names of variables that libraries read when they are imported."""
NOT_READ = ("TORCHELASTIC_", "TORCH_NCCL_ASYNC_ERROR_HANDLING")
"""Begin those among them that torchrun sets for the processes that it starts."""
LOADED = (
    *("notus_exp.models.base_model", "notus_exp.models.reference", "notus_exp.models.likelihoods"),
    *("notus_exp.training.dpo", "notus_exp.training.trainer", "notus_exp.evaluation.generations"),
    *("notus_exp.run.execution", "notus_exp.run.worker", "torch.distributed.run"),
)


STARTED = {**os.environ}


def main(listener: socket.socket) -> None:
    sys.modules["wandb"] = None  # type: ignore[assignment]  # as a worker does
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:  # nothing is ever said there: the tests are over
            shutil.rmtree(Path(listener.getsockname()).parent)
            return
        for module in LOADED:  # at the first worker: most tests ask for none
            importlib.import_module(module)
        connection, _ = listener.accept()
        if os.fork() == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the tests' pipe
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            mind(connection)
            return
        connection.close()


def mind(connection: socket.socket) -> None:
    """Fork a worker and tell its end, or end it where the one that asked has ended; in the worker, be it."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    asked = json.loads(_exactly(connection, struct.unpack("!I", head)[0]))
    if _of_libraries(asked["environment"]) != _of_libraries(STARTED):
        os._exit(0)
    worker = os.fork()
    if worker == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        be(**asked)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(worker)
    while True:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            connection.send(struct.pack("!i", os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])))
            os._exit(0)
        said = connection.recv(1)
        os.kill(worker, said[0] if said else signal.SIGKILL)
        if not said:
            os._exit(0)


def be(module: str, arguments: list[str], folder: str, environment: dict[str, str], python: str) -> None:
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
        content += connection.recv(size - len(content))
    return content


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
