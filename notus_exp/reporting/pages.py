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
_JOINTS = re.compile(r"(?<=[/.:=,|])(?=[^/.:=,|\s])")
_WITHIN = re.compile(r"(?<=_)(?=[^_\s])")
"""Where a long name may go on in the next line: behind a sign, never within a word; behind `_` in long words only."""
_LONG = 20
"""Characters from which on a name of words joined by `_` may break."""


def page_templates(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder, which is a `templates` beside the module that fills them, and the shared ones.

    A name that a template uses and is not given is an error, never an empty place. The filter `breakable` lets a name
    of several words break between them.
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
    return templates


def breakable(name: object) -> Markup:
    """Return a name such as `preferences/accuracy/average` escaped, with a `<wbr>` where it may break."""
    parts = []
    for part in _JOINTS.split(visible(str(name))):
        long = any(len(word) >= _LONG for word in part.split())
        parts += _WITHIN.split(part) if long else [part]
    return Markup("<wbr>").join(escape(part) for part in parts)


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
