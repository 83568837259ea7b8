"""A user's file of a config, checked before Hydra loads it: its size, its form, and that it names no code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from notus_exp.config.commandline import CODE_KEY, touches_hydra
from notus_exp.errors import UserError, first_line

MOST_NODES, MOST_LEVELS = 100_000, 50
"""Keys and values that a user's file may hold once its aliases are written out, and how deep they may be nested."""


def check_file(path: Path) -> None:
    """Check a user's file of a config before it is loaded.

    Raises:
        UserError: It begins with a byte order mark, is not a mapping in YAML, grows beyond `MOST_NODES` by its aliases,
            sets Hydra's configuration, or names code.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\N{BYTE ORDER MARK}"):  # Hydra would pass over a `@package` behind it
            raise UserError(f"{path} begins with a byte order mark (BOM)", "save it as UTF-8 without one")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        size = 0 if root is None else _size(root, {}, ())
    except RecursionError as error:
        raise UserError(f"{path} is nested too deep to be read", f"{MOST_LEVELS} levels are the most") from error
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as YAML: {problem_of(error)}") from error
    if size > MOST_NODES:
        raise UserError(
            f"{path} holds more than {MOST_NODES:,} keys and values once its aliases are written out",
            "an alias that repeats aliases grows without bound; write out what is meant",
        )
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path} is not a mapping", "write KEY: VALUE lines, as the files of conf/ have them")
    packages = re.findall(r"@package\s+(\S+)", text)
    if any(map(touches_hydra, packages)) or any(map(_is_foreign, _words(root))):
        raise UserError(f"{path} sets Hydra's own configuration or names code", f"leave out hydra and {CODE_KEY}")


def problem_of(error: Exception) -> str:
    """Return what is wrong with a file, and in which line where YAML says it."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {first_line(problem)}" if mark and problem else first_line(error)


def _is_foreign(word: str) -> bool:
    name = word.removeprefix("optional ").removeprefix("override ").strip()
    return name == CODE_KEY or touches_hydra(name)


def _size(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Return how many keys and values a node holds with its aliases written out, looking at each once.

    Raises:
        RecursionError: It holds itself, or is nested deeper than `MOST_LEVELS`.
    """
    if id(node) in above or len(above) > MOST_LEVELS:
        raise RecursionError
    if id(node) not in known:
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inside = parts if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_size(part, known, (*above, id(node))) for part in inside)
    return known[id(node)]


def _words(node: yaml.Node, in_defaults: bool = False) -> Iterator[str]:
    """Yield every key of a config, and every entry of its defaults lists."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value)
            yield from _words(value, in_defaults or key.value == "defaults")
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _words(item, in_defaults)
    elif in_defaults:
        yield node.value
