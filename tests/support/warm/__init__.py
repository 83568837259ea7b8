"""Commands whose workers have torch and TRL loaded already.

A worker process spends most of a tiny run on importing libraries: seconds, against tenths for what it makes. So a
test's commands, which are processes of their own as ever, may be given `warm/python` as their `sys.executable`. It
starts everything as Python would, but a worker: that is forked from a process in which the libraries are loaded
(`forking.py`), with the worker's own arguments, environment, folder and streams; it lives no longer than the process
that asked for it, is killed where that is killed, and ends with its exit code or signal. Where the environment says
anything else to the libraries than it did when they were loaded, a worker is started as ever.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""That of a worker of a test, as `run.worker` makes it."""


def command(*arguments: str) -> list[str]:
    """Return the command that runs `python -m notus_exp` with warm workers."""
    return [sys.executable, str(HERE / "parent.py"), _address(), *arguments]


@cache
def _address() -> str:
    """Return where workers are asked for; the process that forks them ends with this one, however it ends."""
    address = str(Path(tempfile.mkdtemp(prefix="warm-")) / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        subprocess.Popen(
            [sys.executable, str(HERE / "forking.py"), str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=ENVIRONMENT,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    return address
