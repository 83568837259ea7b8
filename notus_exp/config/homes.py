"""Settings that name a place: `~` is the home folder, on the command line and in files; a URL is no place here."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from notus_exp.config.ranges import ADDRESS, PLACE
from notus_exp.config.schema import known_settings
from notus_exp.errors import UserError, check_local

SQLITE = "sqlite:///"
"""Goes before the path of a database of SQLite."""


def with_home(override: str) -> str:
    """Return an override with `~` at the beginning of its values expanded, which Hydra's grammar cannot read.

    Only of settings that name a place, and only unquoted: quoted ones are expanded when they are composed.
    """
    key, equals, value = override.partition("=")
    home = str(Path.home())
    if key.lstrip("+") not in place_keys() or not re.fullmatch(r"[\w/.+@-]+", home):
        return override
    return f"{key}{equals}" + re.sub(rf"(^|[\[,]|{SQLITE})~(?=[/,\]]|$)", rf"\1{home}", value)


def expand_homes(node: DictConfig, path: str = "") -> None:
    """Expand `~` in every setting of a composed config that names a place.

    Raises:
        UserError: `~NAME` of a user that this machine does not know, or a URL.
    """
    kind = OmegaConf.get_type(node)
    if not is_dataclass(kind):
        return
    for spec in fields(kind):
        key = f"{path}{spec.name}"
        child = node._get_node(spec.name)
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            expand_homes(child, f"{key}.")
            for name in map(str, child) if spec.metadata.get(PLACE) else ():
                replace_home(child, name, child[name], f"{key}.{name}", spec.metadata.get(ADDRESS))
        elif isinstance(child, ListConfig) and is_dataclass(child._metadata.element_type):
            for position in range(len(child)):
                expand_homes(child[position], f"{key}[{position}].")
        elif spec.metadata.get(PLACE) and not OmegaConf.is_missing(node, spec.name):
            given = node[spec.name]
            address = spec.metadata.get(ADDRESS)
            if isinstance(given, ListConfig):
                for position, item in enumerate(given):
                    replace_home(given, position, item, key, address)
            else:
                replace_home(node, spec.name, given, key, address)


@cache
def place_keys() -> frozenset[str]:
    """Return the dotted keys of all settings that name a place, over all options of each group."""
    return frozenset(key for key, spec in known_settings().items() if spec.metadata.get(PLACE))


def replace_home(node: Any, name: str | int, given: str | None, key: str, address: str | None) -> None:
    """Expand `~` in one setting of a composed config.

    Args:
        node: What holds it.
        name: Its name, or its number in a list.
        given: Its value.
        key: Its dotted key, for errors.
        address: What a URL begins with that may be given instead; None for any.

    Raises:
        UserError: `~NAME` of a user that this machine does not know, or a URL.
    """
    if given and (address is None or not given.startswith(address)):
        check_local(key, given)
    scheme = SQLITE if given and given.startswith(SQLITE) else ""
    if not given or not given.startswith(f"{scheme}~"):
        return
    try:
        node[name] = scheme + str(Path(given.removeprefix(scheme)).expanduser())
    except RuntimeError as error:
        hint = f"write ./{given} for a folder here"
        raise UserError(f"{key}={given}: this machine knows no user of that name", hint) from error
