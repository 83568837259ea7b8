"""Standard output and standard error as ours alone: what libraries write there goes to a file.

Libraries warn, log and print wherever they like: by `warnings`, by loggers with handlers of their own, from C, and in
processes that they start. All of it ends in the descriptors 1 and 2, so these are what is turned aside, and our own
words go to copies of them: `out()` and `err()`, which are `sys.stdout` and `sys.stderr` where nothing is turned aside.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

_STREAMS = {"stdout": 1, "stderr": 2}


@dataclass
class _Apart:
    """What is turned aside: the streams that stay ours, the file that has the rest, copies of what descriptors were."""

    out: TextIO
    err: TextIO
    file: BinaryIO
    copies: dict[int, int]


_apart: _Apart | None = None


def out() -> TextIO:
    """Return the stream of results: standard output."""
    return _apart.out if _apart else sys.stdout


def err() -> TextIO:
    """Return the stream of progress and errors: standard error."""
    return _apart.err if _apart else sys.stderr


def set_err(stream: TextIO) -> None:
    """Let our words for standard error take another way for a while, such as above what moves in a terminal."""
    if _apart:
        _apart.err = stream
    else:
        sys.stderr = stream


@contextmanager
def apart() -> Iterator[None]:
    """Turn aside what anybody else writes to standard output and error; within another `apart` this does nothing.

    What comes before or without `kept_in` is held in a file without a name; see `said`.
    """
    global _apart
    if _apart:
        yield
        return
    before = sys.stdout, sys.stderr
    _apart = _turn()
    try:
        yield
    finally:
        turned, _apart = _apart, None
        sys.stdout, sys.stderr = before
        _put_back(turned)


def for_good() -> None:
    """Turn it aside until this process ends: what is said while an interpreter ends is for nobody either."""
    global _apart
    _apart = _apart or _turn()


@contextmanager
def joined() -> Iterator[None]:
    """Let standard output and error be the process' own again within the block, in which no library may speak.

    For a line that a reader edits at a terminal: readline writes to the descriptors, and asks `sys.stdout` for its own.
    """
    held = _apart
    if held is None:
        yield
        return
    turned = sys.stdout, sys.stderr
    for number, copy in held.copies.items():
        os.dup2(copy, number)
    sys.stdout, sys.stderr = sys.__stdout__ or held.out, sys.__stderr__ or held.err
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = turned
        _point(held, held.file)


@contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """Keep in a file what is turned aside meanwhile, and what was held before; an empty file is not left."""
    held = _apart
    if held is None:
        yield
        return
    outer = held.file
    try:
        stream = path.open("ab")
    except OSError:  # its folder is not there yet; or the disk takes nothing, which others say
        try:
            yield
        finally:
            with suppress(OSError):
                _append(path, _take(outer) if path.parent.is_dir() else b"")
        return
    held.file = stream
    with suppress(OSError):
        stream.write(_take(outer))
        stream.flush()
    _point(held, stream)
    try:
        yield
    finally:
        held.file = outer
        _point(held, outer)
        with suppress(OSError):
            stream.close()
        with suppress(OSError):
            if not path.stat().st_size:
                path.unlink()


def said() -> str:
    """Return what was turned aside and is kept nowhere yet, and forget it."""
    return "" if _apart is None else _take(_apart.file).decode("utf-8", "replace")


class _Sink(io.RawIOBase):
    """What `sys.stdout` and `sys.stderr` are to libraries: the file of the moment."""

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        """Write bytes where they belong now."""
        data = bytes(content)  # type: ignore[call-overload]
        if _apart:
            with suppress(OSError):  # a full disk is no fault of a library that warns
                _apart.file.write(data)
                _apart.file.flush()
        return len(data)

    def fileno(self) -> int:
        """Return a descriptor for processes that libraries start."""
        if _apart is None:
            raise io.UnsupportedOperation("nothing is turned aside")
        return _apart.file.fileno()


def _append(path: Path, content: bytes) -> None:
    if content:
        with path.open("ab") as stream:
            stream.write(content)


def _turn() -> _Apart:
    """Point the descriptors of standard output and error, where these are real ones, and both streams to a file."""
    own = {name: getattr(sys, name) or Path(os.devnull).open("w") for name in _STREAMS}  # noqa: SIM115  # closed
    held = tempfile.TemporaryFile()  # noqa: SIM115
    copies: dict[int, int] = {}
    for name, number in _STREAMS.items():
        own[name].flush()
        if _is(own[name], number):
            copies[number] = os.dup(number)
            own[name] = _text(copies[number], own[name])
    sys.stdout = sys.stderr = io.TextIOWrapper(_Sink(), "utf-8", "backslashreplace", write_through=True)
    turned = _Apart(own["stdout"], own["stderr"], held, copies)
    _point(turned, held)
    return turned


def _put_back(turned: _Apart) -> None:
    for stream, number in ((turned.out, 1), (turned.err, 2)):
        if number in turned.copies:
            with suppress(OSError):  # its reader has gone
                stream.flush()
            os.dup2(turned.copies[number], number)
            with suppress(OSError):
                stream.close()
    turned.file.close()


def _is(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):  # a stream of a test, or none at all
        return False


def _text(descriptor: int, like: TextIO) -> TextIO:
    return io.TextIOWrapper(
        open(descriptor, "wb"),
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=True,
    )


def _point(turned: _Apart, file: BinaryIO) -> None:
    """Let the descriptors lead to a file, each write to its end, whoever else writes there."""
    for number in turned.copies:
        os.dup2(file.fileno(), number)


def _take(file: BinaryIO) -> bytes:
    """Return what a file without a name holds, and empty it; one with a name keeps what it has."""
    if not file.readable():
        return b""
    file.seek(0)
    content = file.read()
    file.seek(0)
    file.truncate()
    return content
