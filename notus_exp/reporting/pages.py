"""HTML pages from templates: every text from the data escaped, no sign in it that a page cannot hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from notus_exp.reporting.texts import visible


def page_templates(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder, which is a `templates` beside the module that fills them.

    A name that a template uses and is not given is an error, never an empty place.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
