"""Which settings tell runs apart: groups with another option, and single keys where the option is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from notus_exp.contracts.run_file import RunFile

_NO_PART = ("output_dir", "until", "study", "tracking", "hardware")
"""Sections of a config that say where and how something runs: they move no result."""


def settings_apart(runs: Sequence[RunFile]) -> dict[str, list[str]]:
    """Return what is not the same in all runs: group or dotted key -> a value a run, as text; "-" where it has none.

    Where runs have different options of a group, the keys of its section are left out: the option stands for them.

    Args:
        runs: Contents of run.json; one that has not begun has no settings.
    """
    options = _apart([run.get("choices", {}) for run in runs])
    found = {name: values for name, values in options.items() if name not in _NO_PART}
    sections = [{**_flat(run.get("config", {}))} for run in runs]
    for key, values in _apart(sections).items():
        section = key.split(".")[0]
        if section not in _NO_PART and section not in options:
            found[key] = values
    return found


def _apart(mappings: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    keys = dict.fromkeys(key for one in mappings for key in one)
    values = {key: [_text(one[key]) if key in one else "-" for one in mappings] for key in keys}
    return {key: texts for key, texts in values.items() if len({*texts}) > 1}


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, list) and value and all(isinstance(one, Mapping) and one.get("name") for one in value):
            value = {one["name"]: {name: of for name, of in one.items() if name != "name"} for one in value}
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
