"""Templates of others rendered in a process of its own, within limits of time, text and memory.

A template is a program: a model's of whoever published it, a judge's of whoever wrote it. Imports nothing heavy.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""Of computing that one rendering may take; a usual one takes a thousandth of one."""
CHARACTERS = 16_000_000
"""Of text that one rendering may make: more than any model reads."""
MEMORY = 2 * 1024**3
"""Bytes of address space of the process that renders."""


def forget() -> None:
    """End the process that renders; the next rendering starts another."""
    with _TURN:
        _forget()


def limit_in_words(name: str) -> str:
    """Return the limit that `ask` says was reached: of "seconds", "characters" or "memory"."""
    return {
        "seconds": f"{SECONDS:g} s of computing",
        "characters": f"{CHARACTERS:,} characters",
        "memory": f"{MEMORY:,} bytes of memory",
    }[name]


class _Renderer:
    """A process that renders, and its limits; one thread at a time asks it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        # Nothing of this process's environment: a template has no use for a key.
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME") if name in os.environ}
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "notus_exp.models.rendering_process", str(SECONDS), str(CHARACTERS), str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return its answer, or None where it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        answer: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return answer

    def close(self) -> int:
        """End the process and return its exit code, negative where a signal ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # what was written to a process that had ended
            self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()


_RENDERERS: list[_Renderer] = []
"""The one of this process, once it is started."""
_TURN = threading.Lock()


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of the process that renders, which is started where it does not run.

    Args:
        request: As `rendering_process.answer` takes it.

    Returns:
        What that returns; also where a limit ended the process.
    """
    with _TURN:
        if _RENDERERS and _RENDERERS[0].owner != os.getpid():
            _RENDERERS.clear()  # a fork: that process answers the one that started it
        if not _RENDERERS:
            _RENDERERS.append(_Renderer())
        answer = _RENDERERS[0].ask(request)
        if answer is not None:
            return answer
        code = _forget()
    if code == -signal.SIGPROF:
        return {"limit": "seconds"}
    return {"refused": f"the process that renders it ended with code {code}"}


def _forget() -> int:
    return _RENDERERS.pop().close() if _RENDERERS else 0


atexit.register(forget)
