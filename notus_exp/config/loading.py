"""From the command line to a checked Config: where conf/ lies, which keys exist, which values go together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config import composing
from notus_exp.config.algorithms import check_weights
from notus_exp.config.annotator_checks import check_annotators
from notus_exp.config.auto_hardware import pick_hardware
from notus_exp.config.curation_checks import check_curation
from notus_exp.config.data_folders import hub_default
from notus_exp.config.data_settings import DATA_SCHEMAS, Data, FileData, Mapped, Simulated
from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.endpoint_checks import check_endpoints
from notus_exp.config.explaining import explain
from notus_exp.config.folders import conf_dir, sweeps_dir
from notus_exp.config.generation_settings import GENERATION_SCHEMAS, ServedGeneration
from notus_exp.config.hardware_checks import check_hardware
from notus_exp.config.judge_settings import JUDGE_SCHEMAS
from notus_exp.config.made_checks import check_made
from notus_exp.config.mapping_paths import check_mapping
from notus_exp.config.misfits import unknown_key, unread
from notus_exp.config.mix_sources import check_parts, parts, told_of
from notus_exp.config.ranges import check
from notus_exp.config.rounds_checks import check_rounds
from notus_exp.config.schema import ALTERNATIVES, Config, Stage, known_settings, reaches
from notus_exp.config.score_checks import check_scores
from notus_exp.config.served_command import check_served_command
from notus_exp.config.sft_checks import check_sft, file_data
from notus_exp.config.sft_settings import SFT_SCHEMAS, ChatSft
from notus_exp.config.simulated_checks import check_simulated
from notus_exp.config.told_shape import check_shape
from notus_exp.errors import UserError, did_you_mean

MAX_TAG = 64
SWEEPER = "hydra_plugins.notus_exp_sweeper.StudySweeper"
"""The plugin by which Hydra hands a multirun to notus_exp.study."""
SWEEPS = "NOTUS_EXP_SWEEPS"
"""The variable by which conf/config.yaml finds the studies."""
STUDIES = "NOTUS_EXP_STUDIES"
"""The variable by which --help, written in conf/config.yaml, names them."""
PROGRAMMED = ("repair", "selection", "rejected")
"""Groups whose options are told apart by their name; one of a user's own with another name writes its own rule."""


def register() -> None:
    """Put the schema where Hydra finds it; conf/config.yaml names it first, so that every value is typed.

    From here on Hydra composes with the checks of notus_exp.config.composing.
    """
    composing.install()
    _store_schemas()
    os.environ[SWEEPS] = str(sweeps_dir())
    os.environ[STUDIES] = ", ".join(sorted(path.stem for path in sweeps_dir().glob("study/*.yaml")))
    # `hardware=auto` is one of the profiles, known before anything is composed: overrides go on top as on any other.
    profile, changes, _ = pick_hardware()
    path = conf_dir() / "hardware" / f"{profile}.yaml"
    _store_profile(path, path.stat().st_mtime_ns, tuple(changes.items()))


@lru_cache(maxsize=1)  # what was stored last
def _store_profile(path: Path, written: int, changes: tuple[tuple[str, Any], ...]) -> None:
    ConfigStore.instance().store(group="hardware", name="auto", node={**OmegaConf.load(path), **dict(changes)})


@cache
def _store_schemas() -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, node in DATA_SCHEMAS.items():
        store.store(name=f"{name}_schema", node=node)
    for name, kind in GENERATION_SCHEMAS.items():
        store.store(name=f"{name}_generation_schema", node=kind)
    for name, judge in JUDGE_SCHEMAS.items():
        store.store(name=f"{name}_judge_schema", node=judge)
    for name, sft in SFT_SCHEMAS.items():
        store.store(name=f"{name}_sft_schema", node=sft)
    store.store(group="hydra/sweeper", name="study", node={"_target_": SWEEPER})


def load(composed: DictConfig) -> Config:
    """Turn a composed config into a checked Config.

    An overlay may set sizes of an evaluation that is not chosen (its own file did not name it): these are dropped.

    Raises:
        UserError: For a missing value, an unknown key, a value out of range or values that do not go together.
    """
    reject_unknown_keys(composed)
    for name in composed.evaluation:
        section = composed.evaluation[name]
        if section is not None and OmegaConf.is_missing(section, "name"):
            composed.evaluation[name] = None
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise explain(error) from error
    assert isinstance(config, Config)
    _check_option_names(config)
    check_parts(config.data)
    check(config)
    check_together(config)
    for data in parts(config.data).values():
        if isinstance(data, FileData) and not data.path and data.hub_split is None:
            data.hub_split = hub_default(data)
    sft = config.sft
    if isinstance(sft, ChatSft) and not sft.path and sft.hub_split is None:
        sft.hub_split = hub_default(file_data(sft))
    return config


def _check_option_names(config: Config) -> None:
    own = {
        "selection": config.selection.score is not None,
        "rejected": config.rejected.place is not None,
        "data": isinstance(config.data, Mapped),
    }
    for group in (*ALTERNATIVES, *PROGRAMMED):
        name, options = getattr(config, group).name, _options(group)
        if name not in options and not own.get(group):
            raise UserError(f"{group}.name={name} is not an option", did_you_mean(name, options))


def _options(group: str) -> list[str]:
    return [path.stem for path in (conf_dir() / group).glob("*.yaml")]


def reject_unknown_keys(node: DictConfig, path: str = "") -> None:
    """Refuse keys that no dataclass has: `+key=` and `++key=` get past Hydra's own check.

    Raises:
        UserError: Naming the key and the nearest known one.
    """
    kind = OmegaConf.get_type(node)
    if not is_dataclass(kind):
        return
    known = {spec.name for spec in fields(kind)}
    for key in map(str, node):
        if key not in known:
            beside = [f"{path}{name}" for name in known] if path else None
            raise unread(f"{path}{key}", kind) or unknown_key(_whole(f"{path}{key}", node._get_node(key)), beside)
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            reject_unknown_keys(child, f"{path}{key}.")


def _whole(key: str, node: Any) -> str:
    """Return a key with those of mappings of one entry below it, as `+foo.bar=1` was given."""
    while isinstance(node, DictConfig) and not node._is_none() and len(node) == 1:
        (inner,) = node
        key, node = f"{key}.{inner!s}", node._get_node(inner)
    return key


def chosen_evaluations(config: Config) -> list[str]:
    """Return the names of the chosen evaluations."""
    return [spec.name for spec in fields(config.evaluation) if getattr(config.evaluation, spec.name) is not None]


def check_choices(config: Config, choices: Mapping[str, Any]) -> None:
    """Refuse a group's `name` that was changed by hand: the option would no longer be what its name says.

    An option of a user's own may keep the name of the one that it is made of.

    Args:
        config: The loaded config.
        choices: Option per group, as composed.

    Raises:
        UserError: Naming the group's options as the way to choose.
    """
    for group, choice in choices.items():
        name = getattr(getattr(config, group, None), "name", choice)
        if name != choice and choice in _options(group):
            raise UserError(f"{group}.name={name} cannot be set: it names the option", f"choose it with {group}={name}")


def check_together(config: Config) -> None:
    """Check what concerns several keys.

    Raises:
        UserError: Naming the keys and the remedy.
    """
    for key, data in parts(config.data).items():
        with told_of(key):
            _check_data(data)
    check_made(config)
    check_rounds(config)
    check_scores(config)
    check_annotators(config)
    check_curation(config)
    check_dpo(config.dpo)
    if config.pairs.weight is not None and reaches(config.until, Stage.policy):
        check_weights(config.dpo)
    check_hardware(config.hardware, config.dpo)
    check_sft(config.sft, config.hardware)
    if isinstance(config.sft, ChatSft):
        _check_hub_id("sft.hub_id", config.sft.hub_id)
    check_endpoints(config)
    if isinstance(config.generation, ServedGeneration):
        check_served_command(config.generation)
    needed = {"hub": "hub_id", "local": "path"}.get(config.model.kind)
    if needed and not getattr(config.model, needed):
        raise UserError(f"model.{needed} must be given for model.kind={config.model.kind}", f"add model.{needed}=VALUE")
    if config.model.path and config.model.kind != "local":
        raise UserError(
            f"model.path={config.model.path} is set, but model.kind={config.model.kind} is read, without it",
            "choose model=local too, or leave model.path out",
        )
    _check_hub_id("model.hub_id", config.model.hub_id)
    check_shape(config.model.shape)
    for group in ("model", "judge"):
        _check_date(f"{group}.template_date", getattr(getattr(config, group), "template_date", None))
    for tag in config.tracking.tags:
        if len(tag) > MAX_TAG:
            raise UserError(f"tracking.tags: '{tag}' is longer than the {MAX_TAG} characters that W&B takes")


def _check_data(data: Data) -> None:
    """Check what concerns several settings of what feedback is read by."""
    if isinstance(data, Simulated):
        check_simulated(data)
    if isinstance(data, Mapped):
        check_mapping(data)
    if isinstance(data, FileData):
        if not data.path and not data.hub_id:
            raise UserError("data.path and data.hub_id are both null", "give data.path=FILE or data.hub_id=OWNER/NAME")
        _check_hub_id("data.hub_id", data.hub_id)


def _check_hub_id(key: str, name: str | None) -> None:
    """Refuse what is no name on a hub, such as a URL; it is not shown, since it may hold a password."""
    if name and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name, re.ASCII):
        raise UserError(f"{key} is no name on the hub", f"write {key}=OWNER/NAME, without an address before it")


def _check_date(key: str, day: str | None) -> None:
    try:
        usual = day is None or date.fromisoformat(day).isoformat() == day
    except ValueError:
        usual = False
    if not usual:
        raise UserError(f"{key}={day} is no day", f"write it as {key}=2024-12-31, or null")


def known_keys() -> list[str]:
    """Return every key that a command line can set, dotted, over all options of each group."""
    return sorted(known_settings())
