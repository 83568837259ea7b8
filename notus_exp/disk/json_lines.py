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

from xxhash import xxh3_64

SEAL = "seal"
"""The key of a sealed line's hash."""

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


def sealed_line(content: dict[str, Any], made_from: object) -> dict[str, Any]:
    """Return a line with a seal: a hash of its content and, as JSON, of what it was made from."""
    return {**content, SEAL: _seal_of(content, made_from)}


def opened_line(line: Any, made_from: object) -> dict[str, Any] | None:
    """Return the content of a line that was read; None where it is not what was written, or made from something else.

    A line without a seal, from before there were any, is as it is.
    """
    if not isinstance(line, dict):
        return None
    content = {name: value for name, value in line.items() if name != SEAL}
    return content if SEAL not in line or line[SEAL] == _seal_of(content, made_from) else None


def _seal_of(content: dict[str, Any], made_from: object) -> str:
    return xxh3_64(json.dumps([made_from, content]).encode()).hexdigest()


def _line(content: object) -> str:
    return json.dumps(content) + "\n"
