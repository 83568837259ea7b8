"""Files of configs: those of users are checked before they are loaded, the shipped ones are read once."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config.commandline import LAUNCHER
from notus_exp.config.own_files import check_file, problem_of
from notus_exp.errors import UserError

SHIPPED = ("hydra", "main", "hydra.searchpath in main", "schema")
"""Hydra's names of the places of configs that are shipped; any other place is a user's."""


class CheckedRepository(ConfigRepository):  # type: ignore[misc]
    """Hydra's files of configs, of which those of users are checked before they are loaded."""

    def __deepcopy__(self, memo: dict[int, Any]) -> CheckedRepository:
        """Return one with a list of places of its own, which is all that Hydra changes in the copy that it makes."""
        other = copy.copy(self)
        other.sources = [*self.sources]
        return other

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Load a config; None where there is none."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        name = ConfigSource._normalize_file_name(config_path)
        if source is None or source.provider in SHIPPED:
            for other in self.get_sources():
                if source is not None and other.provider not in SHIPPED and other.is_config(name):
                    hint = "give it another name: the shipped one would be read in its place"
                    raise UserError(f"{Path(other.path) / name} has the name of a part of notus_exp", hint)
            return self._shipped_config(source, config_path)
        path = Path(source.path) / name
        if config_path.startswith("hydra/"):
            hint = f"choose a launcher with {LAUNCHER[0]}=NAME, and set it with {LAUNCHER[1]}KEY=VALUE"
            raise UserError(f"{path} sets Hydra's own configuration or names code", hint)
        if self.get_schema_source().is_config(name):
            raise UserError(f"{path} has the name of a part of notus_exp", "give it another name")
        check_file(path)
        try:
            return super().load_config(config_path)
        except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
            raise UserError(f"{path} cannot be read as YAML: {problem_of(error)}") from error

    def _shipped_config(self, source: ConfigSource | None, config_path: str) -> ConfigResult | None:
        """Load a shipped config, each file once in a process while it stays: most of composing is to read YAML."""
        if source is None or source.scheme() == "structured":
            return super().load_config(config_path)
        place = (source.provider, source.path, config_path)
        written = _written(source.scheme(), source.path, config_path)
        if _read_files.get(place, (None, b""))[0] != written:
            _read_files[place] = (written, pickle.dumps(super().load_config(config_path)))
        return cast("ConfigResult | None", copy_of(_read_files[place][1]))  # Hydra takes parts out of it


_read_files: dict[tuple[str, str, str], tuple[int, bytes]] = {}
"""When each shipped file was written, and what it holds, as bytes that each config is given a copy from."""


def content_of(config_path: str, part: ConfigResult) -> Any:
    """Return what tells one content of a shipped part from another: a time for a file, else the schema itself."""
    scheme, _, place = part.path.partition("://")
    if scheme == "structured":
        return ConfigStore.instance()._load(ConfigSource._normalize_file_name(config_path)).node
    return _written(scheme, place, config_path)


def _written(scheme: str, place: str, config_path: str) -> int:
    """Return when a file was written, in nanoseconds; 0 for what lies in a package, as Hydra's own does."""
    if scheme != "file":
        return 0
    name: str = ConfigSource._normalize_file_name(config_path)
    return (Path(place) / name).stat().st_mtime_ns


def copy_of(pickled: bytes) -> Any:
    """Return a copy of what this process pickled: a fifth of the time of a deep copy, for OmegaConf's nodes."""
    return pickle.loads(pickled)  # noqa: S301  # it never left this process
