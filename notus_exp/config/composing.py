"""Composing as Hydra does, with the content checked where it comes together, from whatever file or override it is.

Hydra imports what its own configuration names. So what is composed may differ from the shipped configuration of Hydra
in the launcher alone, a file of somebody else's is read only where its aliases leave it small, and no config reads a
variable of the environment but those meant for it.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import hydra._internal.config_loader_impl
import hydra._internal.hydra
import yaml  # type: ignore[import-untyped]
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.defaults_list import DefaultsList
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override, OverrideType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import Container, DictConfig, Node, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config.annotator_items import expand_annotators
from notus_exp.config.auto_hardware import AUTO, processes_for
from notus_exp.config.commandline import CODE_KEY, LAUNCHER, check_override
from notus_exp.config.data_settings import Mix
from notus_exp.config.endpoint_checks import check_endpoint
from notus_exp.config.homes import expand_homes, with_home
from notus_exp.config.list_keys import by_number, check_list_key, of_open_list
from notus_exp.config.mix_sources import expand
from notus_exp.config.own_files import check_file, problem_of
from notus_exp.config.replaced_choices import RULE, rule_as_it_stands
from notus_exp.config.schema import Config, takes
from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, names_secret

SHIPPED = ("hydra", "main", "hydra.searchpath in main", "schema")
"""Hydra's names of the places of configs that are shipped; any other place is a user's."""
MODES = ("hydra.mode=RUN", "hydra.mode=MULTIRUN")
"""Overrides that Hydra adds by itself."""
MOST_STEPS, MOST_CHARACTERS = 2_000, 10_000_000
"""Interpolations that may be followed for one composed config, and characters that they may give in all."""
MOST_MERGED = 32
"""Choices of options whose merged parts are kept."""
GROWS = "a value that repeats values grows without bound; write out what is meant"
ENDPOINTS = ("judge", "generation")
"""Groups of which some options ask an endpoint."""
LISTED = "evaluation"
"""The only group of which several options may be chosen."""
ROOT = "config"
"""The name of the shipped configuration."""
OVERLAYS = ("experiment", "curation", "study")
"""Groups of which an option may be read beside the one that is chosen, because a file names it."""
SINGLE = {spec.name for spec in fields(Config)} - {LISTED} | {*OVERLAYS, LAUNCHER[0]}
"""Groups of which one option is chosen; its file may be made of others of the group."""
OF_COMMAND = ("launcher", "mode", "overrides", "runtime")
"""Parts of Hydra's configuration that are the command's; what the launcher may be is checked by itself."""
OF_JOB = ("override_dirname", "id", "num")
"""Likewise of its `job`."""
READABLE = "NOTUS_EXP_"
"""Begins the names of the variables that a config may read: configs are printed, written to files and sent away."""


def install() -> None:
    """Let Hydra compose with `CheckedLoader`, and OmegaConf follow a bounded number of interpolations, to no secret."""
    hydra._internal.hydra.ConfigLoaderImpl = CheckedLoader
    hydra._internal.config_loader_impl.create_defaults_list = _single_options
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_replacing)  # type: ignore[method-assign]
    Container.resolve_parse_tree = _counted  # type: ignore[method-assign, assignment]
    Container._resolve_node_interpolation = _bounded(_read)  # type: ignore[method-assign]
    Container._evaluate_custom_resolver = _bounded(_call)  # type: ignore[method-assign]
    OmegaConf.register_new_resolver("oc.env", environment_variable, replace=True)


_list_defaults = hydra._internal.config_loader_impl.create_defaults_list


def _single_options(*given: Any, **named: Any) -> DefaultsList:
    """List what a config is composed of as Hydra does, with one option a group; Hydra would merge several.

    Raises:
        UserError: Several options are given of a group other than `evaluation`, wherever they are named.
    """
    try:
        listed = _listed_once(*given, **named)
    except TypeError as error:  # Hydra puts an option's name together with its group's
        hint = f"write GROUP=NAME, or '{LISTED}=[NAME,NAME]'; --help lists the names"
        raise UserError("a group is given a list with what is no name of an option", hint) from error
    _evaluations[:] = [name for group, name in _options(listed) if group == LISTED]
    twice = next((name for name in _evaluations if _evaluations.count(name) > 1), None)
    if twice:
        raise UserError(f"{LISTED}=[{','.join(_evaluations)}] names {twice} twice", "name each evaluation once")
    known = {key.partition("@")[0]: option for key, option in listed.overrides.known_choices.items()}
    chosen: dict[str, list[str]] = {}
    for part, (group, option) in zip(listed.defaults, _options(listed), strict=True):
        made_of = str(part.parent).rpartition("/")[0] == group or (group in OVERLAYS and part.parent != ROOT)
        if group in SINGLE and not made_of and option not in chosen.setdefault(group, []):
            chosen[group].append(option)
    for group, options in chosen.items():
        if options != [known.get(group)]:  # Hydra knows of a choice only where it is one option
            hint = f"write {group}={options[-1]}"
            several = f"; for a run of each write {group}={','.join(options)} and add -m" if len(options) > 1 else ""
            raise UserError(f"{group}=[{','.join(options)}] is a list, and {group} takes one option", hint + several)
    return listed


@contextmanager
def composing_alike() -> Iterator[None]:
    """Meanwhile list and merge what configs are made of once for all that choose the same options.

    Files of configs are taken as they were at the first look, so this is for the seconds of planning a study, whose
    runs mostly differ in values: these come afterwards, and are set one by one in any case.
    """
    global _kept
    before, _kept = _kept, _Alike({}, {})
    try:
        yield
    finally:
        _kept = before


def _listed_once(
    repo: CachingConfigRepository, config_name: str | None, overrides_list: Sequence[Override], **options: bool
) -> DefaultsList:
    """List what a config is composed of as Hydra does; what it lists depends on the overrides that choose options."""
    given = [one for one in overrides_list if not one.is_sweep_override()]
    values = [one for one in given if isinstance(one.value(), dict) or not repo.group_exists(one.key_or_group)]
    choosing = [one.input_line for one in given if one not in values]
    places = [(source.provider, source.path) for source in repo.get_sources()]
    key = (config_name, *sorted(options.items()), *places, *choosing)
    known = {} if _kept is None else _kept.listed
    if key not in known:
        known[key] = _list_defaults(repo, config_name, list(overrides_list), **options)
    return replace(known[key], config_overrides=values)


def _options(listed: DefaultsList) -> list[tuple[str, str]]:
    """Return group and option of every part of a config."""
    parts = (str(part.config_path).rpartition("/") for part in listed.defaults)
    return [(group, option) for group, _, option in parts]


def refers(composed: DictConfig) -> bool:
    """Say whether any value of the config that was composed last is taken from another place of it.

    Args:
        composed: That config, without Hydra's part.
    """
    return _referred[0] or _holds_reference(OmegaConf.to_container(composed, resolve=False))


def _holds_reference(content: Any) -> bool:
    if isinstance(content, dict):
        return any(map(_holds_reference, content.values()))
    if isinstance(content, list):
        return any(map(_holds_reference, content))
    return isinstance(content, str) and "${" in content


def chosen_evaluations() -> list[str]:
    """Return the evaluations that were chosen for the config that was composed last, as far as it went."""
    return [*_evaluations]


def _replacing(overrides: Sequence[Override], composed: DictConfig) -> None:
    """Apply overrides as Hydra does, but let a whole mapping, `KEY={...}`, be what was given; Hydra would merge it.

    Entries are added to a mapping with `+KEY={...}`, and changed with `KEY.NAME=VALUE`. A setting of a source of a mix,
    or of an annotator, may be given that its mapping does not have; whether its option has it is seen when that is
    composed.
    """
    for override in overrides:
        override = replace(override, key_or_group=by_number(override.key_or_group, composed))
        check_list_key(override.key_or_group, composed, setting=override.type is not OverrideType.DEL)
        if of_open_list(override.key_or_group):
            override = replace(override, type=OverrideType.FORCE_ADD)
        given = {} if override.is_sweep_override() else override.value()
        if override.type is OverrideType.CHANGE and isinstance(given, dict) and takes(override.key_or_group, dict):
            mapping = OmegaConf.select(composed, override.key_or_group, throw_on_missing=False)
            if given and isinstance(mapping, DictConfig):
                with open_dict(mapping):
                    mapping.clear()
                override = replace(override, type=OverrideType.ADD)
        _apply_overrides([override], composed)


def _copy_of(pickled: bytes) -> Any:
    """Return a copy of what this process pickled: a fifth of the time of a deep copy, for OmegaConf's nodes."""
    return pickle.loads(pickled)  # noqa: S301  # it never left this process


class _Alike(NamedTuple):
    """What configs have in common that choose the same options.

    Attributes:
        listed: By what decides it, the list of the parts.
        merged: By the identity of such a list, the parts merged, as bytes that each config is made from.
    """

    listed: dict[tuple[Any, ...], DefaultsList]
    merged: dict[int, bytes]


_kept: _Alike | None = None
"""What is kept while a study is planned."""
_evaluations: list[str] = []
_apply_overrides = ConfigLoaderImpl._apply_overrides_to_config
_follow = Container.resolve_parse_tree
_read = Container._resolve_node_interpolation
_call = Container._evaluate_custom_resolver
_steps = itertools.count()
_characters = [0]
_referred = [False]


def _counted(container: Container, *given: Any, **named: Any) -> Any:
    """Follow an interpolation as OmegaConf does, while there are not too many."""
    within = str(container._get_full_key(None))
    _referred[0] |= within != "hydra" and not within.startswith("hydra.")
    if next(_steps) > MOST_STEPS:
        raise UserError(f"the config follows more than {MOST_STEPS:,} interpolations", GROWS)
    return _follow(container, *given, **named)


def _bounded(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of OmegaConf's that gives parts of interpolations, while they are not too long.

    Raises:
        UserError: They are; here, before the parts are put together.
    """

    def bounded(container: Container, *given: Any, **named: Any) -> Any:
        found = read(container, *given, **named)
        value = found._value() if isinstance(found, Node) else found
        _characters[0] += len(value) if isinstance(value, str) else 0
        if _characters[0] > MOST_CHARACTERS:
            raise UserError(f"the interpolations of the config give more than {MOST_CHARACTERS:,} characters", GROWS)
        return found

    return bounded


def environment_variable(name: str, *default: str | None) -> str | None:
    """Return a variable of the environment, which `${oc.env:NAME}` and `${oc.env:NAME,DEFAULT}` stand for.

    Raises:
        UserError: It is none that a config may read, is not set, or holds a secret all the same.
    """
    if not name.startswith(READABLE):
        hint = f"a config reads variables named {READABLE}... alone, such as {READABLE}{name}"
        if names_secret(name):
            hint = "a config is printed and written down; a key is named in an api_key_env"
        raise UserError(f"the config reads the environment variable {name}, which may hold a secret", hint)
    value = os.environ.get(name, *default)
    if names_secret(name) or (value is not None and without_credentials(value) != value):
        hint = "a config is printed and written down; a key is named in an api_key_env"
        raise UserError(f"the config reads the environment variable {name}, which may hold a secret", hint)
    if value is None and not default:
        raise UserError(f"the config reads the environment variable {name}, which is not set", f"export {name}=VALUE")
    return value


_NUMBER, _BATCH = "hardware.processes=", "dpo.global_batch_size"


def _share_batches(composed: DictConfig) -> None:
    """Let `hardware=auto` take as many devices as the recipe's global batch can be shared by."""
    batch, hardware = OmegaConf.select(composed, _BATCH, throw_on_resolution_failure=False), composed.hardware
    if hardware.processes == 1 or not isinstance(batch, int) or batch < 1:
        return
    hardware.processes = processes_for(batch, hardware.processes)
    if hardware.processes == 1:
        hardware.launch, hardware.zero_stage, hardware.offload = "plain", None, False


class CheckedLoader(ConfigLoaderImpl):  # type: ignore[misc]
    """Hydra's loader, which checks overrides and users' files before they are composed, and then what came of them.

    Args:
        config_search_path: Where configs lie.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = _CheckedRepository(config_search_path)
        self._data: dict[str, DictConfig] = {}
        self._judges: dict[str, DictConfig] = {}

    def load_configuration(
        self, config_name: str | None, overrides: Sequence[str], *options: Any, **named: Any
    ) -> DictConfig:
        """Compose a config, `~` in its path settings expanded.

        Raises:
            UserError: Something names code, or sets more of Hydra's own configuration than the launcher.
        """
        global _steps
        _steps, _characters[0], _referred[0] = itertools.count(), 0, False
        own = [override for override in overrides if override not in MODES]
        for override in own:
            check_override(override)
        composed: DictConfig = super().load_configuration(config_name, [*map(with_home, overrides)], *options, **named)
        places = [(place.provider, place.path) for place in self.config_search_path.get_path()]
        shipped = [place for place in places if place[0] in SHIPPED]
        if len(shipped) < len(places) or re.search("hydra|@", " ".join(own)):  # else all of it is shipped
            _check_hydra(composed.hydra, _shipped(config_name, *shipped))
        expand_homes(composed)
        if OmegaConf.get_type(composed.data) is Mix:
            expand(composed.data, self.get_group_options("data", ObjectType.CONFIG, ROOT, []), self._data_option)
        for group in ENDPOINTS:  # before anybody shows the config
            url, variable = (_given(composed, f"{group}.{setting}") for setting in ("base_url", "api_key_env"))
            check_endpoint(group, url, variable)
        if composed.get("annotators"):
            options = self.get_group_options("judge", ObjectType.CONFIG, ROOT, [])
            expand_annotators(composed, _judge_chosen(composed), options, partial(self._judge, composed))
        self._name_rule(composed)
        if composed.hydra.runtime.choices.get("hardware") == AUTO and _NUMBER not in " ".join(own):
            _share_batches(composed)
        return composed

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: CachingConfigRepository
    ) -> DictConfig:
        """Merge the parts of a config as Hydra does, the same shipped parts once in a process while they stay.

        It is half of the time of composing, and the runs of a study mostly differ in values, which come afterwards.
        """
        if _kept is None:
            return self._merge(defaults, repo)
        if id(defaults) not in _kept.merged:  # a list stays while what was merged of it does
            _kept.merged[id(defaults)] = pickle.dumps(self._merge(defaults, repo))
        return cast(DictConfig, _copy_of(_kept.merged[id(defaults)]))

    def _merge(self, defaults: list[ResultDefault], repo: CachingConfigRepository) -> DictConfig:
        parts = [repo.load_config(part.config_path) for part in defaults]
        if any(part is None or part.provider not in SHIPPED for part in parts):
            return cast(DictConfig, super()._compose_config_from_defaults_list(defaults, repo))
        contents = [_content(default.config_path, part) for default, part in zip(defaults, parts, strict=True)]
        known = [content if isinstance(content, int) else id(content) for content in contents]
        places = [
            (one.config_path, one.package, one.primary, part.path) for one, part in zip(defaults, parts, strict=True)
        ]
        key = (*places, *known)
        if key not in _merged:
            if len(_merged) >= MOST_MERGED:
                _merged.clear()
            _merged[key] = (super()._compose_config_from_defaults_list(defaults, repo), contents)
        return copy.deepcopy(_merged[key][0])

    def _name_rule(self, composed: DictConfig) -> None:
        """Let the choice of a rule say what stands in the place of what the rule sets."""
        choices = composed.hydra.runtime.choices
        if isinstance(name := choices.get(RULE), str):
            with read_write(choices), open_dict(choices):
                choices[RULE] = rule_as_it_stands(name, composed, self.repository.load_config)

    def _data_option(self, name: str) -> DictConfig:
        """Return the group `data` as one of its options composes it, apart from any other config."""
        if name not in self._data:
            chosen = [*_evaluations]
            option = super().load_configuration(ROOT, [f"data={name}"], RunMode.RUN).data
            _evaluations[:] = chosen  # of the config that is being composed
            OmegaConf.resolve(option)
            self._data[name] = option
        found = copy.deepcopy(self._data[name])
        found._set_parent(None)
        return found

    def _judge(self, composed: DictConfig, option: str) -> DictConfig:
        """Return the group `judge` as an option composes it: the run's own where it is that, else apart from it."""
        judge = composed.judge
        if _judge_chosen(composed) != option:
            if option not in self._judges:
                chosen = [*_evaluations]
                self._judges[option] = super().load_configuration(ROOT, [f"judge={option}"], RunMode.RUN).judge
                _evaluations[:] = chosen  # of the config that is being composed
            judge = self._judges[option]
        found: Any = OmegaConf.merge(
            OmegaConf.structured(OmegaConf.get_type(judge)), OmegaConf.to_container(judge, resolve=True)
        )
        return cast(DictConfig, found)


def _judge_chosen(composed: DictConfig) -> str:
    return str(composed.hydra.runtime.choices["judge"])


def _given(composed: DictConfig, key: str) -> str | None:
    """Return a text of a composed config; None where there is none, and where it cannot be resolved."""
    value = OmegaConf.select(composed, key, throw_on_resolution_failure=False)
    return value if isinstance(value, str) else None


class _CheckedRepository(ConfigRepository):  # type: ignore[misc]
    """Hydra's files of configs, of which those of users are checked before they are loaded."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _CheckedRepository:
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
        return cast("ConfigResult | None", _copy_of(_read_files[place][1]))  # Hydra takes parts out of it


_read_files: dict[tuple[str, str, str], tuple[int, bytes]] = {}
"""When each shipped file was written, and what it holds, as bytes that each config is given a copy from."""
_merged: dict[tuple[Any, ...], tuple[DictConfig, list[Any]]] = {}
"""What shipped parts give together, and what of them is known by its identity, which is its own while it is kept."""


def _content(config_path: str, part: ConfigResult) -> Any:
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


def _check_hydra(composed: DictConfig, shipped: Mapping[str, Any]) -> None:
    changed = next(_differences(_fixed(composed), shipped, "hydra"), None)
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
