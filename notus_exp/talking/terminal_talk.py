"""A conversation in the terminal, or with a pipe: prompts and commands in, answers beside each other out."""

from __future__ import annotations

import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from notus_exp.disk import streams
from notus_exp.errors import UserError, check_local, did_you_mean
from notus_exp.machine.out_of_memory import is_out_of_memory
from notus_exp.reporting.console import make_console
from notus_exp.reporting.going_on import NARROW, working
from notus_exp.reporting.texts import many, tell, visible
from notus_exp.talking.dialogue import AnsweredPrompt, Dialogue

ASKED = "> "
"""Stands before what the user says."""
RESET, SAVE, QUIT, HELP = "/reset", "/save", "/quit", "/help"
COMMANDS = {
    RESET: "begins a new conversation",
    f"{SAVE} FILE": "writes all that was said as JSON lines",
    QUIT: "ends, as Ctrl-D does",
    HELP: "says this; what begins with // is said to the models with one / less",
}
INTERRUPTED = 130


class Talk(NamedTuple):
    """What a conversation needs.

    Attributes:
        dialogue: Who is spoken to.
        told: What every saved line says of them.
        lines: What the user says; `EOFError` and its end end it.
        typed: Whether a user types at a terminal and sees what was typed.
    """

    dialogue: Dialogue
    told: Mapping[str, Any]
    lines: Iterable[str]
    typed: bool


def hold(talk: Talk) -> int:
    """Talk until the lines end, `/quit` or Ctrl-C; return the exit code.

    That is 130 after Ctrl-C; 2 where a prompt of a pipe got no answer, or a command of it failed; else 0.
    """
    out, failed = make_console(streams.out()), False
    try:
        for line in talk.lines:
            said = line.rstrip("\r\n")
            if said.strip() == QUIT:
                break
            try:
                _take(talk, said, out)
            except UserError as error:
                failed = True
                tell(f"error: {error}", streams.err())
    except KeyboardInterrupt:
        tell("\ninterrupted" if talk.typed else "interrupted", streams.err())
        return INTERRUPTED
    return 2 if failed and not talk.typed else 0


def _take(talk: Talk, said: str, out: Console) -> None:
    """Do what a line asks for.

    Raises:
        UserError: It cannot be done.
    """
    if not said.strip():
        return
    if said.startswith("/") and not said.startswith("//"):
        _obey(talk, said)
        return
    prompt = said.removeprefix("/") if said.startswith("//") else said
    try:
        exchange = talk.dialogue.ask(prompt, lambda what: working(make_console(streams.err()), what))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "memory ran out while the answer was made", f"{RESET}, or give fewer --max-new-tokens"
        ) from error
    if not talk.typed:
        out.print(Text(visible(f"{ASKED}{prompt}")), soft_wrap=True)
    show(exchange, out)


def _obey(talk: Talk, said: str) -> None:
    name, _, rest = said.partition(" ")
    err = streams.err()
    commands: dict[str, Callable[[str], None]] = {
        RESET: lambda _: _reset(talk.dialogue),
        SAVE: lambda file: _save(talk, file),
        HELP: lambda _: tell(in_words(), err),
    }
    if name not in commands:
        near = did_you_mean(name, [*commands, QUIT])
        hint = near if near.startswith("did you mean") else "a prompt that begins with / is written with //"
        raise UserError(f"{name} is no command", hint)
    commands[name](rest.strip())


def _reset(dialogue: Dialogue) -> None:
    dialogue.reset()
    tell("a new conversation begins", streams.err())


def _save(talk: Talk, file: str) -> None:
    if not file:
        raise UserError(f"{SAVE} needs a file", f"{SAVE} FILE")
    check_local(SAVE, file)
    path = Path(file)
    with suppress(RuntimeError):  # this machine knows no user of that name: then it is a name
        path = path.expanduser()
    count = talk.dialogue.save(path, talk.told)
    tell(f"{many(count, 'prompt')} saved in {path}", streams.err())


def in_words() -> str:
    """Return what the commands do, one a line."""
    return "\n".join(f"{name}  {words}" for name, words in COMMANDS.items())


def show(exchange: AnsweredPrompt, out: Console) -> None:
    """Print answers: of two beside each other where a terminal is wide enough, else one below the other."""
    names = [f"{name} (cut)" if answer.truncated else name for name, answer in exchange.answers.items()]
    texts = [Text(visible(answer.response), overflow="fold") for answer in exchange.answers.values()]
    if len(texts) > 1 and out.is_terminal and out.width >= NARROW:
        table = Table(box=None, expand=True, padding=(0, 2, 0, 0), pad_edge=False)
        for name in names:
            table.add_column(Text(name), ratio=1, overflow="fold")
        table.add_row(*texts)
        out.print(table)
    else:
        for name, text in zip(names, texts, strict=True):
            if out.is_terminal:
                out.print(Rule(Text(name), align="left", style="dim"))
                out.print(text)
            else:
                out.print(Text(f"[{name}]"), soft_wrap=True)
                out.print(text, soft_wrap=True)
    out.print()


def typed_lines() -> Iterator[str]:
    """Yield what a user types at the terminal, each line edited by readline where Python has it; Ctrl-D ends it."""
    with suppress(ImportError):
        import readline  # noqa: F401 - `input` finds it
    while True:
        with streams.joined():
            try:
                line = input(ASKED)
            except EOFError:
                print(file=streams.out())
                return
        yield line


def piped_lines() -> Iterator[str]:
    """Yield the lines of standard input; what is not UTF-8 in them is half a character, which no model is told."""
    for number, line in enumerate(sys.stdin.buffer):
        line = line if number else line.removeprefix(BOM_UTF8)
        yield line.decode("utf-8", "surrogateescape")
