"""Keys of the command line that lead into a list, such as `data.sources.0.path`: checked before Hydra follows them."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig

from notus_exp.errors import UserError

OPEN = ("data.sources", "data.writers", "annotators")
"""Lists whose items may be given settings of their options, which the items as composed do not have."""
OPEN_MAPPINGS = ("data.prompts", "data.judge")
"""Mappings of which the same is true."""
NAMED = ("annotators", "scores")
"""Lists whose items have names, which may stand in the place of their numbers."""
_ITEMS = {
    "data.sources": ("setting of a source", "{data: OPTION, KEY: VALUE}"),
    "data.writers": ("setting of a writer", "{name: NAME, KEY: VALUE}"),
    "annotators": ("setting of an annotator", "{name: NAME, KEY: VALUE}"),
    "scores": ("setting of an item of scores", "{KEY: VALUE}"),
    "data.mapping.completions": ("setting of a completion", "{KEY: VALUE}"),
}
"""List whose items are mappings -> what a key leads to, and how an item is written."""


def leads_into_open(key: str) -> bool:
    """Say whether a key leads into a mapping whose settings its option has."""
    return any(key.startswith(f"{base}.") for base in (*OPEN, *OPEN_MAPPINGS))


def by_number(key: str, composed: DictConfig) -> str:
    """Return a key with the number of an item in the place of its name, where an item of that name is known.

    Args:
        key: Dotted, such as `annotators.helpful.budget`.
        composed: The config, as it was composed so far.
    """
    group, _, rest = key.partition(".")
    name, _, setting = rest.partition(".")
    if group not in NAMED or not setting:
        return key
    names = [item.get("name") if isinstance(item, DictConfig) else None for item in composed.get(group) or []]
    return f"{group}.{names.index(name)}.{setting}" if names.count(name) == 1 else key


def check_list_key(key: str, composed: DictConfig, *, setting: bool) -> None:
    """Check that a key which leads into a list names an item that there is, and in a list of mappings its setting.

    Args:
        key: Dotted.
        composed: The config, as it was composed so far.
        setting: Whether the key is set; otherwise it would be taken away.

    Raises:
        UserError: It does not.
    """
    node: Any = composed
    base, rest = list[str](), key.split(".")
    while rest and isinstance(node, DictConfig):
        base.append(rest.pop(0))
        node = _within(node, base[-1])
    name = next((items for items in _ITEMS if key.startswith(f"{items}.")), ".".join(base))
    if not rest or not (isinstance(node, ListConfig) or name in OPEN):
        return
    known = len(node) if isinstance(node, ListConfig) and not (node._is_none() or node._is_missing()) else 0
    within = len(rest) > 1 or name not in OPEN
    if rest[0].isdecimal() and int(rest[0]) < known and within and setting:
        return
    have = {0: "there is none", 1: "there is number 0"}.get(known, f"there are those of numbers 0 to {known - 1}")
    if name not in _ITEMS:
        raise UserError(f"{key} is no item of {name}: {have}", f"write all of it: '{name}=[VALUE,...]'")
    what, item = _ITEMS[name]
    raise UserError(f"{key} is no {what}: {have}", f"write {name}.0.KEY=VALUE, or all of {name}=[{item}, ...]")


def _within(node: DictConfig, name: str) -> Any:
    return None if node._is_none() or node._is_missing() else node._get_node(name, validate_access=False)
