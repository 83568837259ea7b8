"""A model's chat template, rendered within limits of time and size, and with a date that the config says."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

import notus_exp
from notus_exp.errors import UserError, first_line

Message = Mapping[str, str]
"""One turn: {"role": ..., "content": ...}."""

SECONDS = 10.0
"""Of computing that one rendering may take; a usual one takes a thousandth of one."""
CHARACTERS = 16_000_000
"""Of text that one rendering may make: more than any model reads."""
MEMORY = 2 * 1024**3
"""Bytes of address space of the process that renders."""
OPEN = "|the text goes on here| "
"""Marks the end of a last turn's text, to cut what the template writes after it."""
MOST_SAID = 200
"""Characters of what a template says that an error repeats."""
_BY_FOLDER = {"model": " (model=local)"}
"""Group of the config -> how it is given a folder."""
REMEDY = "choose another model, or mend chat_template.jinja in a copy of its folder (model=local)"


def render(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Message],
    *,
    add_generation_prompt: bool,
    date: str | None,
    whose: str = "model",
    remedy: str = REMEDY,
    **given: Any,
) -> str:
    """Return a conversation as the tokenizer's chat template writes it.

    The text is that of `tokenizer.apply_chat_template(..., tokenize=False)`, but for the limits and the date.

    Args:
        tokenizer: Has the template and the special tokens that it names.
        turns: The conversation.
        add_generation_prompt: Whether it ends in the beginning of an assistant's turn.
        date: What the template is told when it asks for today's date (YYYY-MM-DD); None refuses one that asks.
        whose: Group of the config that the model belongs to, for messages.
        remedy: What helps where the template refuses these turns.
        given: Other variables of the template.

    Raises:
        UserError: The template asks for a date, refuses the turns, is none or one of several, takes more than the
            limits, or writes half a character.
    """
    found = _ask(_request(tokenizer, turns, add_generation_prompt, date, whose, given))
    if "text" in found:
        text = str(found["text"])
        if _halved(text) and not any(_halved(turn["content"]) for turn in turns):
            raise UserError(
                f"{whose}: the chat template writes half a character (a lone surrogate), which no tokenizer reads",
                REMEDY,
            )
        return text
    if "asks_date" in found:
        raise UserError(
            f"{whose}: the chat template writes today's date, so that the same text has other tokens tomorrow",
            f"say which date it writes, on every day: {whose}.template_date={datetime.now(UTC).date()}",
        )
    if "limit" in found:
        most = _limits()[found["limit"]]
        raise UserError(f"{whose}: one rendering of the chat template takes more than {most}", REMEDY)
    roles = ", ".join(turn["role"] for turn in turns)
    said = first_line(found["refused"])[:MOST_SAID].encode("utf-8", "replace").decode()
    raise UserError(f"{whose}: the chat template refuses the turns {roles}: {said}", remedy)


def asks_date(
    tokenizer: PreTrainedTokenizerFast, turns: Sequence[Message], *, add_generation_prompt: bool, whose: str = "model"
) -> bool:
    """Say whether the template asks for today's date where it renders these turns."""
    return "asks_date" in _ask(_request(tokenizer, turns, add_generation_prompt, None, whose, {}))


def render_open(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Message], *, date: str | None, **given: Any) -> str:
    """Return a conversation up to the end of its last turn's text, which a model is to go on with.

    As transformers has it with `continue_final_message`: white space at that end is kept where the template keeps it.

    Raises:
        UserError: As `render`, or the template does not write the last turn's text.
    """
    marked = [*turns[:-1], {**turns[-1], "content": turns[-1]["content"] + OPEN}]
    text = render(tokenizer, marked, add_generation_prompt=False, date=date, **given)
    before, found, _ = text.rpartition(OPEN)
    if found:
        return before
    before, found, _ = text.rpartition(OPEN.strip())
    if not found:
        raise UserError("model: the chat template does not write the text of the last turn", REMEDY)
    return before.rstrip()


def forget() -> None:
    """End the process that renders; the next rendering starts another."""
    with _TURN:
        _forget()


class _Renderer:
    """A process that renders, and its limits; one thread at a time asks it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        # Nothing of this process's environment: a template has no use for a key.
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME") if name in os.environ}
        root = str(Path(notus_exp.__file__).parent.parent)
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


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of the process that renders, which is started where it does not run."""
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


def _request(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Message],
    add_generation_prompt: bool,
    date: str | None,
    whose: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    variables = {
        **{name: _plain(token) for name, token in tokenizer.special_tokens_map.items()},
        "messages": [dict(turn) for turn in turns],
        "tools": None,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
        **given,
    }
    return {"template": _template(tokenizer, whose), "variables": variables, "date": date}


def _template(tokenizer: PreTrainedTokenizerFast, whose: str) -> str:
    """Return the chat template of a tokenizer; of several, which have names, the one that is the default."""
    several = tokenizer.chat_template
    if isinstance(several, dict) and "default" not in several:
        raise UserError(
            f"{whose}: the tokenizer has several chat templates ({', '.join(sorted(several))}), none of them 'default'",
            f"in a copy of the model's folder{_BY_FOLDER.get(whose, '')} make one of them the only chat_template.jinja",
        )
    return str(tokenizer.get_chat_template())


def _halved(text: str) -> bool:
    """Say whether a text holds half a character: half a surrogate pair, which UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _forget() -> int:
    return _RENDERERS.pop().close() if _RENDERERS else 0


def _plain(token: Any) -> Any:
    """Return a special token, or several of a kind, as text."""
    return [str(one) for one in token] if isinstance(token, list | tuple) else str(token)


def _limits() -> dict[str, str]:
    return {
        "seconds": f"{SECONDS:g} s of computing",
        "characters": f"{CHARACTERS:,} characters",
        "memory": f"{MEMORY:,} bytes of memory",
    }


atexit.register(forget)
