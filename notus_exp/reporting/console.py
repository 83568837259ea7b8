"""The terminal: a console that fits it, or a log, and paths as a reader wants them.

Everything that is printed for a reader goes through here or through `texts.tell`: names and texts come from data, files
and servers, and are neither markup nor commands of a terminal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from notus_exp.disk import streams
from notus_exp.reporting.texts import QUIET, SHOWN, VERBOSE, visible

LOG_WIDTH = 160
"""Columns of the tables where there is no terminal to fit."""


class _Console(Console):
    """A console that draws control characters, and whose reader may stop reading, as `head` does."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a printed string a text, `visible`: Rich would drop some control characters from it."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render anything, every text of it `visible`."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)

    @property
    def size(self) -> ConsoleDimensions:
        """The size of the terminal that is written to; Rich would ask the descriptors 0 to 2."""
        if self.is_terminal and "COLUMNS" not in os.environ:
            with suppress(OSError, ValueError):
                return ConsoleDimensions(*os.get_terminal_size(self.file.fileno()))
        return super().size

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def on_broken_pipe(self) -> None:
        """Write to nowhere from here on."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams.out().fileno())


_of_err: Console | None = None


def make_console(stream: TextIO) -> Console:
    """Return a console on a stream, on which no text is markup; on no terminal tables are `LOG_WIDTH` wide.

    On standard error, where what goes on is shown, a quiet command shows nothing; errors do not go through here. There
    all have one console, so that lines stand above what moves at the foot of the terminal.
    """
    global _of_err
    width = None if stream.isatty() else LOG_WIDTH
    on_err = stream is streams.err()
    stream = getattr(stream, "rich_proxied_file", stream)
    quiet = on_err and os.environ.get(SHOWN) == QUIET
    if on_err and _of_err and _of_err.file is stream and _of_err.quiet == quiet:
        return _of_err
    console = _Console(file=stream, width=width, markup=False, emoji=False, highlight=False, quiet=quiet)
    if on_err:
        _of_err = console
    return console


def verbose() -> bool:
    """Say whether all is to be shown."""
    return os.environ.get(SHOWN) == VERBOSE


def say(console: Console, line: str) -> None:
    """Print a line as it is: nothing in it is markup, and it is not broken."""
    console.print(line, soft_wrap=True)


def shorten(path: Path) -> str:
    """Return a path relative to the working directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
