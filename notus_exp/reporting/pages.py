"""HTML pages from templates: every text from the data escaped, no sign in it that a page cannot hold.

What all pages share (the frame of a page, its style, macros) is in `templates` beside this file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from notus_exp.reporting.texts import visible

_SHARED = Path(__file__).parent / "templates"
_JOINTS = re.compile(r"(?<=[/_.:=,|])(?=[^/_.:=,|\s\d])")
"""Where a long name may go on in the next line: behind a sign, never within a word or a number."""
_TOGETHER = re.compile(r"(?<=\d) (?=%)|(?<=\d) (?=to [+\u2212-]?\d)|(?<=\d to) (?=[+\u2212-]?\d)")
"""Spaces within what is read at once, a percentage or an interval: no line ends there."""
_LONG = 20
"""Characters of a name from which on it may break; a shorter one goes into the next line as a whole."""
_FIRST = re.compile(r".*?(?=<wbr>|\s|$)", re.DOTALL)
"""What of a name stays behind its sign,"""
_KEPT = 40
"""unless it is longer than that: a line must not grow with it."""


def page_templates(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder, which is a `templates` beside the module that fills them, and the shared ones.

    A name that a template uses and is not given is an error, never an empty place. The filter `breakable` lets a name
    of several words break between them, and `signed` puts a sign before it.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    templates.filters["breakable"] = breakable
    templates.filters["signed"] = signed
    return templates


def breakable(name: object) -> Markup:
    """Return a name such as `preferences/accuracy/average` escaped, with a `<wbr>` where it may break.

    A percentage and an interval within a sentence stay on one line.
    """
    words = re.split(r"(\s+)", _TOGETHER.sub("\N{NO-BREAK SPACE}", visible(str(name))))
    parted = (_JOINTS.split(word) if len(word) >= _LONG else [word] for word in words)
    return Markup("").join(Markup("<wbr>").join(escape(part) for part in parts) for parts in parted)


def signed(name: object, sign: Markup) -> Markup:
    """Return a breakable name behind a sign that never stands alone at the end of a line."""
    text = breakable(name)
    first = _FIRST.match(text)
    length = first.end() if first and first.end() <= _KEPT else 0
    return Markup('<span class="kept">{}{}</span>{}').format(sign, Markup(text[:length]), Markup(text[length:]))


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
