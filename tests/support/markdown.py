"""What the Markdown of README and docs holds: blocks of code, commands, links and headings."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.places import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
"""All that tell people what to do; the changelog tells what was."""

SHELL, OTHER = ("sh",), ("json", "yaml", "python", "text")
"""Languages that a fenced block may name: each line of the first is a command."""
PROGRAMS = {
    *("python", "python3", ".venv/bin/python", "notus-exp", "make", "pip", "pipx", "uv", "conda", "pre-commit"),
    *("wandb", "optuna-dashboard", "accelerate", "torchrun", "deepspeed", "docker", "ollama", "vllm", "jupyter"),
    *("export", "source", ".", "cd", "git", "curl", ".ci/run", "pytest", "ruff", "mypy"),
}
"""First words that make a line of any other block, or code within a sentence, a command."""

_FENCE = re.compile(r"^( *(?:(?:[-*+]|\d+[.)]) +)*)(`{3,}|~{3,})[ \t]*([^\s`]*)([^`]*)$")
"""At any depth, or behind the mark of a list's item; behind the language there may be more."""
_QUOTED = re.compile(r"^ {0,3}(?:> ?)+")
_PRE = re.compile(r"<pre\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^>]*>", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"^(\w+=\S* +)+")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.DOTALL)
_HTML_SPAN = re.compile(r"<(code|kbd|samp)\b[^>]*>((?:(?!\n\s*\n).)+?)</\1>", re.DOTALL | re.IGNORECASE)
_NAMES_A_DOOR = re.compile(r"(\S*python3? -m [\w.]+|\S+)")


class Block(NamedTuple):
    """A block of code, fenced or indented (then its language is None), and the line it begins on."""

    language: str | None
    lines: list[str]
    number: int


class Command(NamedTuple):
    """A command in one line, without comments, and where it stands."""

    text: str
    page: str
    number: int


def blocks(text: str) -> tuple[list[Block], str]:
    """Return the blocks of code, quoted ones and those of `<pre>` among them, and the text with their lines empty."""
    found: list[Block] = []
    prose: list[str] = []
    fence, depth, quoted, indented, pre = "", "", False, False, False
    for number, given in enumerate(text.expandtabs(4).splitlines(), 1):
        bare = _QUOTED.sub("", given)
        if fence and quoted and bare == given:  # the quotation ends, and its block with it
            fence = ""
        line = given if fence and not quoted else bare
        mark = _FENCE.match(line)
        before = prose[-1] if prose else ""
        prose.append("")
        opened = None if fence or pre else _PRE.search(_SPAN.sub(lambda span: "`" * len(span[0]), line))
        if fence:
            if mark and mark[2].startswith(fence) and not (mark[3] + mark[4]).strip():
                fence = ""
            else:
                found[-1].lines.append(line.removeprefix(" " * len(depth)))
        elif pre or opened:
            if opened:
                found.append(Block(None, [], number))
                prose[-1], line = line[: opened.start()], line[opened.end() :]
            inside, end, after = line.partition("</pre>")
            found[-1].lines.append(html.unescape(_TAG.sub("", inside)))
            prose[-1] += after
            pre, indented = not end, False
        elif mark:
            depth, fence, quoted, indented = mark[1], mark[2], bare != given, False
            found.append(Block(mark[3], [], number + 1))
        elif line.startswith("    ") and (indented or not before.strip()):
            if not indented:
                found.append(Block(None, [], number))
            indented = True
            found[-1].lines.append(line[4:])
        else:
            indented = indented and not line.strip()
            if indented:
                found[-1].lines.append("")
            prose[-1] = line
    return found, "\n".join(prose)


def commands(page: Path) -> list[Command]:
    """Return every command of a page: in blocks, and in code within sentences."""
    text = page.read_text(encoding="utf-8")
    found, prose = blocks(text)
    name = page.relative_to(ROOT).as_posix()
    listed = [
        Command(line, name, number)
        for block in found
        for number, line in _logical(block)
        if block.language in SHELL or _program(line) in PROGRAMS
    ]
    spans = [(span.start(), span[2]) for span in _SPAN.finditer(prose)]
    spans += [
        (span.start(), html.unescape(_TAG.sub("", span[2])))
        for span in _HTML_SPAN.finditer(_SPAN.sub(lambda span: "`" * len(span[0]), prose))
    ]
    for start, span in spans:
        line = " ".join(span.split()).removeprefix("$ ")
        if _program(line) in PROGRAMS and not _NAMES_A_DOOR.fullmatch(line):
            listed.append(Command(line, name, prose[:start].count("\n") + 1))
    return listed


def _logical(block: Block) -> Iterator[tuple[int, str]]:
    """Yield the lines of a block, those continued by a backslash as one, without comments."""
    begun, start = "", block.number
    for number, line in enumerate(block.lines, block.number):
        start = start if begun else number
        begun += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        if said := " ".join(re.sub(r"(^|\s)#.*$", "", begun).split()).removeprefix("$ "):
            yield start, said
        begun = ""


def _program(line: str) -> str:
    rest = _ASSIGNMENT.sub("", line).split()
    return rest[0] if rest else ""


def links(page: Path) -> list[str]:
    """Return what a page links to or shows, outside of code."""
    prose = _SPAN.sub("", blocks(page.read_text(encoding="utf-8"))[1])
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:href|src|srcset)="([^"]+)"', prose)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in blocks(page.read_text(encoding="utf-8"))[1].splitlines():
        if heading := re.match(r"#{1,6} +(.+?)\s*$", line):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            found.add(words if words not in found else f"{words}-{sum(one.startswith(words) for one in found)}")
    return found
