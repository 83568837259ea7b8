"""Commands whose workers have torch and TRL loaded already.

A worker process spends most of a tiny run on importing libraries: seconds, against tenths for what it makes. So a
test's commands, which are processes of their own as ever, may be given a script as their `sys.executable` (`PYTHON`).
It starts everything as Python would, but a worker: that is forked as those of a study's runs are
(`notus_exp/run/warm_workers`), by one process for all tests. So it is with torchrun, and with each process that it
starts.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from notus_exp.run import warm_workers

LOADED = (*warm_workers.LOADED, "torch.distributed.run")
HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""That of a worker of a test, as `run.worker` makes it."""
PYTHON = """#!/bin/sh
if [ "$1 $2" = "-u -m" ]; then
    shift
fi
case "$1 $2" in
"-m notus_exp.run.worker_process" | "-m torch.distributed.run") exec {python} -I -S {stand_in} {address} "$0" "$@" ;;
esac
exec {python} "$@"
"""


def command(*arguments: str) -> list[str]:
    """Return the command that runs `python -m notus_exp` with warm workers."""
    return [sys.executable, str(HERE / "parent.py"), _python(), *arguments]


@cache
def _python() -> str:
    """Return the script; the process that forks workers ends with this one, however it ends, and takes it away."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address, script = str(folder / "socket"), folder / "python"
    paths = {"python": sys.executable, "stand_in": str(warm_workers.HERE / "stand_in.py"), "address": address}
    script.write_text(PYTHON.format(**{name: shlex.quote(path) for name, path in paths.items()}))
    script.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        subprocess.Popen(
            [sys.executable, str(warm_workers.HERE / "fork_server.py"), str(listener.fileno()), *LOADED],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=ENVIRONMENT,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    return str(script)
