"""The process in which templates of others are rendered: `python -m` this module, with SECONDS CHARACTERS BYTES.

A template is a program: of whoever published a model, or wrote a question to a judge. Here it can take no more time,
memory and text than the three arguments allow, whatever it does: the kernel ends this process when one rendering has
computed for SECONDS. It knows no clock and no chance, so that the same texts give the same text on every day. It reads
one request a line and writes one answer a line (JSON), and ends with its standard input. Imports nothing heavy: it is
up in a tenth of a second.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import date
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import meta, nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHANCE = ("lipsum", "random")
"""What Jinja has that gives another text each time: a global and a filter."""


class DateAskedError(Exception):
    """The template asks for today's date, and no date was given."""


class TooLongError(Exception):
    """The text is longer than it may be."""


class GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks an assistant's text for other uses; here it is its body alone."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the body with a scope of its own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def main(seconds: float, characters: int, size: int) -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, also within a computation in C
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply = answer(request, characters)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


def answer(request: dict[str, Any], characters: int) -> dict[str, Any]:
    """Return what comes of a template.

    Args:
        request: {"template", "variables", "date"} of a chat template, {"template", "variables"} of a plain one, or its
            {"template"} alone, which asks for the names of the variables that it needs.
        characters: The longest text.

    Returns:
        {"text"}, {"names"}, {"asks_date"}, {"limit": "characters" or "memory"} or {"refused": what the template said}.
    """
    try:
        template = request["template"]
        if "variables" not in request:
            return {"names": sorted(meta.find_undeclared_variables(_plain().parse(template)))}
        made = chat_template(template, request["date"]) if "date" in request else plain_template(template)
        return {"text": rendered(made, request["variables"], characters)}
    except DateAskedError:
        return {"asks_date": True}
    except TooLongError:
        return {"limit": "characters"}
    except MemoryError:
        return {"limit": "memory"}
    except jinja2.TemplateSyntaxError as error:
        return {"refused": f"line {error.lineno}: {error.message}"}
    except jinja2.TemplateError as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever Python says about what the template does with the turns
        return {"refused": f"{type(error).__name__}: {error}"}


def rendered(template: jinja2.Template, variables: dict[str, Any], characters: int) -> str:
    """Return the text of a template for its variables.

    Args:
        template: As `chat_template` or `plain_template` compiles it.
        variables: What it is given by name.
        characters: The longest text.

    Raises:
        DateAskedError: It asks for the date and was compiled without one.
        TooLongError: The text is longer.
        TemplateError: It refuses the variables.
    """
    parts, length = [], 0
    for part in template.generate(**variables):
        length += len(part)
        if length > characters:
            raise TooLongError
        parts.append(part)
    return "".join(parts)


@lru_cache
def chat_template(template: str, day: str | None) -> jinja2.Template:
    """Return a template with the names that those of hubs rely on, which transformers has made usual.

    Args:
        template: Its source.
        day: What `strftime_now` takes for today, as YYYY-MM-DD, or None.

    Raises:
        TemplateError: It is no template.
    """
    environment = _environment(extensions=[GenerationBlock, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _clock(day)
    return environment.from_string(template)


@lru_cache
def plain_template(template: str) -> jinja2.Template:
    """Return a template of a text that is no page, whose variables are all given.

    Raises:
        TemplateError: It is no template.
    """
    return _plain().from_string(template)


def _plain() -> ImmutableSandboxedEnvironment:
    return _environment(undefined=jinja2.StrictUndefined)


def _environment(**options: Any) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, **options)
    for name in CHANCE:
        environment.globals.pop(name, None)
        environment.filters.pop(name, None)
    return environment


def _clock(day: str | None) -> Any:
    def strftime_now(pattern: str) -> str:
        if day is None:
            raise DateAskedError
        return date.fromisoformat(day).strftime(pattern)

    return strftime_now


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Return JSON that is not escaped for HTML, as Jinja's own filter would."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
