"""Files of JSON lines that a process may be killed while writing: the last line may be half there, and is then none.

A line is ASCII: whatever text it holds can be written.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

OnDamage = Callable[[], None]
"""Called for each complete line that is no JSON; it is left out."""


def append_line(path: Path, content: object, *, sync: bool = True) -> None:
    """Append a line, and see it onto the disk unless `sync` is false.

    A file that an earlier process wrote is first cut by `keep_lines`: else the line would go on with its half one.
    """
    with path.open("a", encoding="utf-8") as stream:
        stream.write(_line(content))
        if sync:
            stream.flush()
            os.fsync(stream.fileno())


def write_lines(path: Path, contents: Iterable[object]) -> None:
    """Write a file anew, a line for each content."""
    path.write_text("".join(map(_line, contents)), encoding="utf-8")


def read_lines(path: Path, on_damage: OnDamage | None = None) -> Iterator[Any]:
    """Yield the content of each complete line that is JSON; of a file that does not exist, none."""
    if path.exists():
        with path.open("rb") as stream:
            yield from take_lines(stream, on_damage)


def take_lines(stream: BinaryIO, on_damage: OnDamage | None = None) -> Iterator[Any]:
    """Yield the content of each line that is complete by now and is JSON, from the stream's place on.

    The stream then stands before the half-written line, or at the end: the next call goes on there.
    """
    while (line := stream.readline()).endswith(b"\n"):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            if on_damage:
                on_damage()
            continue
        yield content
    stream.seek(-len(line), os.SEEK_CUR)


def keep_lines(path: Path, most: int | None = None) -> None:
    """Cut a file, where it exists, after its first `most` complete lines; None: after the last complete one."""
    if not path.exists():
        return
    with path.open("rb+") as stream:
        end = sum(len(line) for line in itertools.islice(stream, most) if line.endswith(b"\n"))
        stream.truncate(end)


def _line(content: object) -> str:
    return json.dumps(content) + "\n"
