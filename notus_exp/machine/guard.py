"""A process that runs a command and ends all that it started: `python -m notus_exp.machine.guard COMMAND...`.

Its standard input is a pipe of whoever started it: when that one dies in any way, by kill -9 too, the pipe ends, and so
do the command and its descendants, those that left its session included. Where the guard itself is killed, the kernel
ends the command (Linux). It leaves with the command's exit code, 128 and the signal's number for a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

import psutil

from notus_exp.disk import streams

POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""How long what is ended may take to stop before it is killed."""
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
"""Of prctl(2)."""
NO_PROGRAM = 127
"""Exit code where the command's program does not run, as a shell's."""


def main(command: list[str]) -> int:
    """Run a command until it ends or standard input does; return its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    _prctl(_SET_CHILD_SUBREAPER, 1)  # orphans of the command become children of this process, and are found
    try:
        # close_fds: locks of devices that were handed down are held as long as anything of the command lives.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=False, preexec_fn=_die_with_parent
        )
    except OSError as error:
        print(f"{command[0]} cannot be run: {error}", file=streams.err())
        return NO_PROGRAM
    try:
        while child.poll() is None:
            readable, _, _ = select.select([0], [], [], POLL_SECONDS)
            if readable and not os.read(0, 1):
                break
    finally:
        end_descendants()
    code = child.wait()
    return 128 - code if code < 0 else code


def end_descendants() -> None:
    """End every descendant of this process: first in order, then by force."""
    descendants = psutil.Process().children(recursive=True)
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for one in descendants:
            with contextlib.suppress(psutil.Error):
                ask(one)
        _, descendants = psutil.wait_procs(descendants, timeout=GRACE_SECONDS)
        descendants += psutil.Process().children(recursive=True)  # started meanwhile


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _die_with_parent() -> None:
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
