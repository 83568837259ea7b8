"""The terminal: a console that fits it, or a log, and paths as a reader wants them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from rich.console import Console

LOG_WIDTH = 160
"""Columns of the tables where there is no terminal to fit."""


class _Console(Console):
    """A console whose reader may stop reading, as `head` does, without that being a failure."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from here on."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console(stream: TextIO) -> Console:
    """Return a console on a stream; where that is no terminal, tables are `LOG_WIDTH` wide."""
    return _Console(file=stream, width=None if stream.isatty() else LOG_WIDTH)


def say(console: Console, line: str) -> None:
    """Print a line as it is: nothing in it is markup, and it is not broken."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def shorten(path: Path) -> str:
    """Return a path relative to the working directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
