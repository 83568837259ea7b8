"""Cards for readers elsewhere: Markdown with a YAML header, without secrets and places of a machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2

from notus_exp.disk.credentials import without_credentials
from notus_exp.reporting.texts import visible

_PLACE = re.compile(r"(?<![\w.:/~])(?:~/|[A-Za-z]:\\|/(?=[^\s/]+/[^\s]))[^\s\"'`<>|,;()\[\]{}]*")
"""An absolute path, or one below the home folder, of whatever machine; not what follows the scheme of a URL."""


def card(template: str, **values: Any) -> str:
    """Return a card's text.

    Args:
        template: Name of a file in `templates/`.
        values: What it is filled with; secrets are struck out of it and places replaced by their last name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["yaml"] = lambda value: json.dumps(value, ensure_ascii=True)  # JSON is YAML
    return environment.get_template(template).render(**for_others(values))


def for_others(value: Any) -> Any:
    """Return JSON-like content as it may leave this machine: no secrets, and of each place its last name alone."""
    return _placeless(without_credentials(value))


def level(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested JSON on one level, dotted key -> value; objects in lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= level(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _placeless(value: Any) -> Any:
    if isinstance(value, str):
        return _PLACE.sub(lambda found: _last_name(found[0]), value)
    if isinstance(value, dict):
        return {_placeless(key): _placeless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(item) for item in value]
    return value


def _last_name(place: str) -> str:
    return re.split(r"[/\\]", place.rstrip("/\\"))[-1]


def _cell(value: Any) -> str:
    """Return a value as the text of a Markdown table's cell: one line, no column mark, no code mark."""
    if isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(visible(text).split()).replace("|", "\\|").replace("`", "'")
