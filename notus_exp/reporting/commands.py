"""What the commands that print a report have in common: arguments, errors of two lines, the exit code."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from notus_exp.disk import streams
from notus_exp.disk.full import remedy
from notus_exp.disk.given import LARGEST
from notus_exp.errors import UserError, check_local, did_you_mean, first_line, strike, whole_traceback
from notus_exp.reporting.texts import tell

if TYPE_CHECKING:
    from notus_exp.reporting.tables import Report

Number = TypeVar("Number", int, float)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are two lines, as all others of the project, and whose paths may begin with `~`."""

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.register("type", Path, lambda text: Path(home(text)))

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help where results go, whatever `sys.stdout` is just now."""
        if message:
            tell(message.rstrip("\n"), streams.out())

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, in our words, and what is meant or where help is."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        said, hint = in_our_words(message, options)
        tell(f"error: {strike(said)}\n  {strike(hint) or f'{self.prog} --help shows how it is used'}", streams.err())
        sys.exit(2)


def in_our_words(message: str, options: Sequence[str]) -> tuple[str, str]:
    """Return what argparse says of a command line as the rest of the project would, and a remedy or "".

    Args:
        message: Its own words.
        options: Those of the command.
    """
    for pattern, told in _TOLD:
        if found := re.fullmatch(pattern, message, re.S):
            return told(found, options)
    return message.removeprefix("argument "), ""


def _unknown(found: re.Match[str], options: Sequence[str]) -> tuple[str, str]:
    given = found[1].split()[0].partition("=")[0]
    if not given.startswith("-"):
        return f"'{found[1]}' is one argument too many", ""
    near = did_you_mean(given, options)
    return f"{given} is no option of this command", near if near.startswith("did you mean") else ""


def _no_choice(found: re.Match[str], options: Sequence[str]) -> tuple[str, str]:
    return f"{found[1]} cannot be {found[2]}", did_you_mean(found[2].strip("'"), re.findall(r"[\w-]+", found[3]))


_TOLD: list[tuple[str, Callable[[re.Match[str], Sequence[str]], tuple[str, str]]]] = [
    (r"unrecognized arguments: (.*)", _unknown),
    (r"argument (.*?): invalid choice: (.*) \((?:choose from )?(.*)\)", _no_choice),
    (r"the following arguments are required: (.*)", lambda found, _: (f"{found[1]} must be given", "")),
    (r"argument (.*?): expected .*", lambda found, _: (f"{found[1]} needs a value", f"write {found[1]} VALUE")),
    (r"argument (.*?): ignored explicit argument .*", lambda found, _: (f"{found[1]} takes no value", "")),
    (r"argument (.*?): invalid int value: '(.*)'", lambda found, _: (f"{found[1]} {found[2]} is no whole number", "")),
    (r"argument (.*?): invalid \w+ value: '(.*)'", lambda found, _: (f"{found[1]} {found[2]} is no number", "")),
    (
        r"argument (.*?): not allowed with argument (.*)",
        lambda found, _: (f"{found[1]} and {found[2]} do not go together", "give one of them"),
    ),
    (
        r"one of the arguments (.*) is required",
        lambda found, _: (f"one of {found[1].replace(' ', ', ')} must be given", ""),
    ),
    (r"ambiguous option: (\S+) could match (.*)", lambda found, _: (f"{found[1]} may be {found[2]}", "write it out")),
]
"""What argparse says, and what is said in its place."""


def answer(
    make: Callable[[], Report],
    *,
    as_json: bool,
    allow_refused: bool = False,
    what: str | None = "reading and computing",
) -> int:
    """Make a report and print it; return the exit code: 2 after an error, or where a part was refused.

    Args:
        make: Makes the report; a UserError or OSError of it becomes a message.
        as_json: Print one JSON object in the place of tables.
        allow_refused: A part that was refused is no failure.
        what: What the terminal shows meanwhile; None where `make` shows it by itself.
    """
    with streams.apart():
        return _answer(make, as_json=as_json, allow_refused=allow_refused, what=what)


def _answer(make: Callable[[], Report], *, as_json: bool, allow_refused: bool, what: str | None) -> int:
    # imported here and not above, so that --help answers at once
    from notus_exp.reporting.console import make_console
    from notus_exp.reporting.going_on import working
    from notus_exp.reporting.tables import show

    try:
        with working(make_console(streams.err()), what) if what else nullcontext():
            report = make()
    except UserError as error:
        tell(f"error: {error}", streams.err())
        return 2
    except OSError as error:
        named = f": {error.filename}" if error.filename else ""
        tell(f"error: {UserError(f'{error.strerror or first_line(error)}{named}', remedy(error))}", streams.err())
        return 2
    show(report, make_console(streams.out()), as_json=as_json)
    for refused in report.refused:
        tell(f"refused: {refused}", streams.err())
    return 2 if report.refused and not allow_refused else 0


def as_process(main: Callable[[], int | None]) -> NoReturn:
    """Run a command as a process of its own, so that it never ends without a word or with one of a library.

    The exit code is that of `main`; 0 where the reader of standard output has seen enough, 2 where it takes nothing
    (a full disk), 130 after Ctrl-C, and 1 with the whole traceback after an error that nobody expected.
    """
    streams.for_good()
    sys.excepthook = lambda kind, error, trace: tell(whole_traceback(error), streams.err())
    try:
        sys.exit(main() or 0)
    except KeyboardInterrupt:
        tell("error: interrupted", streams.err())
        sys.exit(130)
    except BrokenPipeError:  # `head`, for example
        sys.exit(0)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF):
            raise
        tell(f"error: standard output takes nothing: {error.strerror}", streams.err())
        sys.exit(2)


def positive_numbers(kind: Callable[[str], Number]) -> Callable[[str], list[Number]]:
    """Return an argument's type: numbers above 0, none beyond `LARGEST`, with commas between them."""

    def parse(text: str) -> list[Number]:
        try:
            numbers = [kind(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(0 < number <= LARGEST for number in numbers):
            raise argparse.ArgumentTypeError(f"'{text}' is not a list of positive numbers such as 3,2")
        return numbers

    return parse


def home(text: str) -> str:
    """Return an argument that begins with a path, `~` in it expanded; a URL is refused."""
    try:
        check_local("this", text)
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except UserError as error:
        raise argparse.ArgumentTypeError(error.message) from error
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"'{text}': this machine knows no user of that name") from error
