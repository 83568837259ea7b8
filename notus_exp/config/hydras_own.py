"""Hydra's own configuration, which imports what it names: what is composed may differ from it in the launcher alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from notus_exp.config.commandline import CODE_KEY, LAUNCHER
from notus_exp.errors import UserError

OF_COMMAND = ("launcher", "mode", "overrides", "runtime")
"""Parts of Hydra's configuration that are the command's; what the launcher may be is checked by itself."""
OF_JOB = ("override_dirname", "id", "num")
"""Likewise of its `job`."""


@cache
def _shipped(config_name: str | None, *places: tuple[str, str]) -> dict[str, Any]:
    """Return Hydra's fixed configuration as it is without a user's files and overrides."""
    own = ConfigSearchPathImpl()
    for provider, path in places:
        own.append(provider, path)
    return _fixed(ConfigLoaderImpl(own).load_configuration(config_name, [], RunMode.RUN).hydra)


def _fixed(hydra: DictConfig) -> dict[str, Any]:
    """Return what no command changes of Hydra's configuration."""
    content: Any = OmegaConf.to_container(hydra, resolve=False)
    content["job"] = {key: value for key, value in content["job"].items() if key not in OF_JOB}
    return {key: value for key, value in content.items() if key not in OF_COMMAND}


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    """Yield the dotted keys under which two configs differ."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        if one != other:
            yield path
        return
    for key in dict.fromkeys([*one, *other]):
        yield from _differences(one.get(key), other.get(key), f"{path}.{key}")


def check_hydra(composed: DictConfig, config_name: str | None, *places: tuple[str, str]) -> None:
    """Check that Hydra's part of a config is as it is shipped, but for the launcher, which is one that is installed.

    Args:
        composed: Hydra's part.
        config_name: Of the config.
        places: Provider and path of what is shipped.

    Raises:
        UserError: It is another, or names code.
    """
    changed = next(_differences(_fixed(composed), _shipped(config_name, *places), "hydra"), None)
    if changed:
        raise UserError(f"the config sets Hydra's own {changed}", f"of Hydra's own, only {LAUNCHER[0]} is chosen")
    _check_launcher(composed.launcher)


def _check_launcher(launcher: DictConfig) -> None:
    """Check that a launcher is one that is installed for Hydra, and that none of its settings names code.

    Raises:
        UserError: Otherwise.
    """
    options = ConfigStore.instance().repo["hydra"]["launcher"].values()
    settings: Any = OmegaConf.to_container(launcher, resolve=True)
    named = settings.pop(CODE_KEY, None)
    if named not in [option.node.get(CODE_KEY) for option in options] or any(_names_code(settings)):
        raise UserError(f"{LAUNCHER[0]}: a config never names code to import ({CODE_KEY})")


def _names_code(content: Any) -> Iterator[bool]:
    """Yield for every key of JSON-like content whether it is the one that names code."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key == CODE_KEY
            yield from _names_code(value)
    elif isinstance(content, list):
        for item in content:
            yield from _names_code(item)
