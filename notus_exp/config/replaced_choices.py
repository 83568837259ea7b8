"""What a config sets otherwise than the rule of `curation=NAME`, so that no run is recorded under a name it has not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import Container, DictConfig, OmegaConf

RULE = "curation"
"""The group whose options are whole rules."""
WITH, FOR = ", with ", " in place of "
"""Between the name of a rule and what stands in the place of its own choices, and between both of these."""
_SELF = "_self_"


def rule_as_it_stands(name: str, composed: DictConfig, load: Callable[[str], ConfigResult | None]) -> str:
    """Return the name of a rule, and behind it what the config says in the place of what the rule sets.

    A number of the rule's own that is tuned, such as `filters.keep.share`, leaves the rule what it is.

    Args:
        name: Option of the group `curation`.
        composed: The whole config, with Hydra's part.
        load: Returns the file of a config by its path; None where there is none.

    Returns:
        Such as `random_labels, with selection=average in place of selection=random`.
    """
    groups, values = _sets(f"{RULE}/{name}", load)
    chosen = composed.hydra.runtime.choices
    found = [(group, option, chosen.get(group)) for group, option in groups.items()]
    found += [(key, value, _plain(OmegaConf.select(composed, key))) for key, value in values.items()]
    said = [f"{key}={_shown(has)}{FOR}{key}={_shown(of)}" for key, of, has in found if not _is_kept(of, has)]
    return f"{name}{WITH}{', '.join(said)}" if said else name


def plain_name(choice: str) -> str:
    """Return the name of the option alone, of a choice as it is recorded."""
    return choice.partition(WITH)[0]


def _sets(path: str, load: Callable[[str], ConfigResult | None]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the options that a file chooses, by group, and the settings of its body, by dotted key."""
    file = load(path)
    if file is None:
        return {}, {}
    groups, values = dict[str, str](), dict[str, Any]()
    own = dict(_leaves(OmegaConf.to_container(file.config)))
    entries = file.defaults_list or []
    if not any(isinstance(entry, ConfigDefault) and entry.path == _SELF for entry in entries):
        entries = [*entries, ConfigDefault(path=_SELF)]
    for entry in entries:
        if isinstance(entry, GroupDefault) and isinstance(entry.value, str):
            group = (entry.group or "").lstrip("/")
            if entry.override:
                groups[group] = entry.value
        elif isinstance(entry, ConfigDefault) and entry.path == _SELF:
            values |= own
        elif isinstance(entry, ConfigDefault) and entry.path:
            beside = entry.path.lstrip("/") if entry.path.startswith("/") else f"{RULE}/{entry.path}"
            made_of = _sets(beside, load)
            groups, values = groups | made_of[0], values | made_of[1]
    return groups, values


def _leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every plain value of nested content with its dotted key; interpolations are passed over."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        elif "${" not in str(value):
            yield f"{path}{key}", value


def _plain(value: Any) -> Any:
    found = OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value
    return found.name if isinstance(found, Enum) else found


def _is_kept(of: Any, has: Any) -> bool:
    """Say whether a setting is as a rule has it, or is a number of the rule's own."""
    return of == has or (_is_number(of) and _is_number(has))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
