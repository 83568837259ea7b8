"""Composing as Hydra does, with the content checked where it comes together, from whatever file or override it is.

Hydra imports what its own configuration names. So what is composed may differ from the shipped configuration of Hydra
in the launcher alone, a file of somebody else's is read only where its aliases leave it small, and no config reads a
variable of the environment but those meant for it.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from math import gcd
from typing import Any, NamedTuple, cast

import hydra._internal.config_loader_impl
import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from notus_exp.config.annotator_items import expand_annotators
from notus_exp.config.auto_hardware import AUTO, processes_for
from notus_exp.config.commandline import LAUNCHER, check_override
from notus_exp.config.config_files import SHIPPED, CheckedRepository, content_of, copy_of
from notus_exp.config.data_settings import MadeFeedback, Mix
from notus_exp.config.endpoint_checks import check_endpoint
from notus_exp.config.homes import expand_homes, with_home
from notus_exp.config.hydras_own import check_hydra
from notus_exp.config.interpolations import begin, bound_interpolations
from notus_exp.config.list_keys import OPEN_MAPPINGS, by_number, check_list_key, leads_into_open
from notus_exp.config.made_items import GroupOptions, expand_made
from notus_exp.config.mix_sources import expand
from notus_exp.config.replaced_choices import RULE, rule_as_it_stands
from notus_exp.config.rounds_settings import numbered_rounds
from notus_exp.config.schema import Config, takes
from notus_exp.errors import UserError

MODES = ("hydra.mode=RUN", "hydra.mode=MULTIRUN")
"""Overrides that Hydra adds by itself."""
MOST_MERGED = 32
"""Choices of options whose merged parts are kept."""
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


def install() -> None:
    """Let Hydra compose with `CheckedLoader`, and OmegaConf follow a bounded number of interpolations, to no secret."""
    hydra._internal.hydra.ConfigLoaderImpl = CheckedLoader
    hydra._internal.config_loader_impl.create_defaults_list = _single_options
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_replacing)  # type: ignore[method-assign]
    bound_interpolations()


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


def chosen_evaluations() -> list[str]:
    """Return the evaluations that were chosen for the config that was composed last, as far as it went."""
    return [*_evaluations]


def _replacing(overrides: Sequence[Override], composed: DictConfig) -> None:
    """Apply overrides as Hydra does, but let a whole mapping, `KEY={...}`, be what was given; Hydra would merge it.

    Entries are added to a mapping with `+KEY={...}`, and changed with `KEY.NAME=VALUE`. A setting of a source of a mix,
    of an annotator or of what makes data may be given that its mapping does not have; whether its option has it is seen
    when that is composed.
    """
    for override in overrides:
        override = replace(override, key_or_group=by_number(override.key_or_group, composed))
        check_list_key(override.key_or_group, composed, setting=override.type is not OverrideType.DEL)
        if leads_into_open(override.key_or_group) and override.type is not OverrideType.DEL:
            override = replace(override, type=OverrideType.FORCE_ADD)
        given = {} if override.is_sweep_override() else override.value()
        whole = takes(override.key_or_group, dict) or override.key_or_group in OPEN_MAPPINGS
        if override.type is OverrideType.CHANGE and isinstance(given, dict) and whole:
            mapping = OmegaConf.select(composed, override.key_or_group, throw_on_missing=False)
            if given and isinstance(mapping, DictConfig):
                with open_dict(mapping):
                    mapping.clear()
                override = replace(override, type=OverrideType.ADD)
        _apply_overrides([override], composed)


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


_NUMBER, _BATCHES = "hardware.processes=", ("dpo.global_batch_size", "sft.global_batch_size")


def _share_batches(composed: DictConfig) -> None:
    """Let `hardware=auto` take as many devices as the global batch of each training can be shared by."""
    found = [OmegaConf.select(composed, key, throw_on_resolution_failure=False) for key in _BATCHES]
    batches, hardware = [batch for batch in found if isinstance(batch, int) and batch > 0], composed.hardware
    if hardware.processes == 1 or not batches:
        return
    hardware.processes = processes_for(gcd(*batches), hardware.processes)
    if hardware.processes == 1:
        hardware.launch, hardware.zero_stage, hardware.offload = "plain", None, False


class CheckedLoader(ConfigLoaderImpl):  # type: ignore[misc]
    """Hydra's loader, which checks overrides and users' files before they are composed, and then what came of them.

    Args:
        config_search_path: Where configs lie.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = CheckedRepository(config_search_path)
        self._apart: dict[str, DictConfig] = {}

    def load_configuration(
        self, config_name: str | None, overrides: Sequence[str], *options: Any, **named: Any
    ) -> DictConfig:
        """Compose a config, `~` in its path settings expanded.

        Raises:
            UserError: Something names code, or sets more of Hydra's own configuration than the launcher.
        """
        begin()
        own = [override for override in overrides if override not in MODES]
        for override in own:
            check_override(override)
        given = [with_home(numbered_rounds(override)) for override in overrides]
        composed: DictConfig = super().load_configuration(config_name, given, *options, **named)
        places = [(place.provider, place.path) for place in self.config_search_path.get_path()]
        shipped = [place for place in places if place[0] in SHIPPED]
        if len(shipped) < len(places) or re.search("hydra|@", " ".join(own)):  # else all of it is shipped
            check_hydra(composed.hydra, config_name, *shipped)
        expand_homes(composed)
        if OmegaConf.get_type(composed.data) is Mix:
            expand(composed.data, [name for name in self._options("data") if name != "prompts"], self._data_option)
        if OmegaConf.get_type(composed.data) is MadeFeedback:
            data, model = (
                GroupOptions(self._options(group), compose)
                for group, compose in (("data", self._data_option), ("model", self._model))
            )
            judge = GroupOptions(self._options("judge"), partial(self._judge, composed))
            expand_made(composed.data, data, model, judge, _judge_chosen(composed))
        for group in ENDPOINTS:  # before anybody shows the config
            url, variable = (_given(composed, f"{group}.{setting}") for setting in ("base_url", "api_key_env"))
            check_endpoint(group, url, variable)
        if composed.get("annotators"):
            expand_annotators(composed, _judge_chosen(composed), self._options("judge"), partial(self._judge, composed))
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
        return cast(DictConfig, copy_of(_kept.merged[id(defaults)]))

    def _merge(self, defaults: list[ResultDefault], repo: CachingConfigRepository) -> DictConfig:
        parts = [repo.load_config(part.config_path) for part in defaults]
        if any(part is None or part.provider not in SHIPPED for part in parts):
            return cast(DictConfig, super()._compose_config_from_defaults_list(defaults, repo))
        contents = [content_of(default.config_path, part) for default, part in zip(defaults, parts, strict=True)]
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

    def _options(self, group: str) -> list[str]:
        return list(self.get_group_options(group, ObjectType.CONFIG, ROOT, []))

    def _data_option(self, name: str) -> DictConfig:
        """Return the group `data` as one of its options composes it, apart from any other config."""
        return self._composed_apart("data", name)

    def _model(self, name: str) -> DictConfig:
        """Return the group `model` likewise."""
        return self._composed_apart("model", name)

    def _composed_apart(self, group: str, name: str) -> DictConfig:
        choice = f"{group}={name}"
        if choice not in self._apart:
            chosen = [*_evaluations]
            option = super().load_configuration(ROOT, [choice], RunMode.RUN)[group]
            _evaluations[:] = chosen  # of the config that is being composed
            OmegaConf.resolve(option)
            self._apart[choice] = option
        found = copy.deepcopy(self._apart[choice])
        found._set_parent(None)
        return found

    def _judge(self, composed: DictConfig, option: str) -> DictConfig:
        """Return the group `judge` as an option composes it: the run's own where it is that, else apart from it."""
        judge = composed.judge
        if _judge_chosen(composed) != option:
            judge = self._composed_apart("judge", option)
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


_merged: dict[tuple[Any, ...], tuple[DictConfig, list[Any]]] = {}
"""What shipped parts give together, and what of them is known by its identity, which is its own while it is kept."""
