"""From the command line to a checked Config: where conf/ lies, which keys exist, which values go together."""

from __future__ import annotations

import importlib.resources
import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from notus_exp.config import composing
from notus_exp.config.commandline import for_shell, quoted
from notus_exp.config.curation_checks import check_curation
from notus_exp.config.data_settings import DATA_SCHEMAS, FileData, Simulated
from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.endpoint_checks import check_endpoints
from notus_exp.config.generation_settings import GENERATION_SCHEMAS
from notus_exp.config.hardware_checks import check_hardware
from notus_exp.config.judge_settings import JUDGE_SCHEMAS
from notus_exp.config.misfits import misfit, unknown_key
from notus_exp.config.ranges import check
from notus_exp.config.schema import ALTERNATIVES, Config, known_settings, takes
from notus_exp.config.simulated_checks import check_simulated
from notus_exp.errors import UserError, did_you_mean, first_line
from notus_exp.machine.cuda import cuda_devices

MAX_TAG = 64
SWEEPER = "hydra_plugins.notus_exp_sweeper.StudySweeper"
"""The plugin by which Hydra hands a multirun to notus_exp.study."""
SWEEPS = "NOTUS_EXP_SWEEPS"
"""The variable by which conf/config.yaml finds the studies."""
STUDIES = "NOTUS_EXP_STUDIES"
"""The variable by which --help, written in conf/config.yaml, names them."""
EXTRAS = {"submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}
"""Launcher of Hydra -> the extra of this package that installs it."""
PROGRAMMED = ("repair", "selection", "rejected")
"""Groups whose options are told apart by their name: a file of a user's own can name no other."""
MAPPINGS = ("data.skills", "selection.weights")
"""Keys whose entries the user names."""
DOTTED_MAPPINGS = ("study.arms", "study.grid", "study.tuning.values", "study.search.parameters",
                   "study.search.objectives", "study.search.constraints")  # fmt: skip
"""Likewise, where a name may itself be a dotted key or a metric."""


def conf_dir() -> Path:
    """Return the folder of the configuration: inside an installed package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("notus_exp")))
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def sweeps_dir() -> Path:
    """Return the folder of the studies: beside the configuration."""
    return conf_dir().with_name("sweeps")


def register() -> None:
    """Put the schema where Hydra finds it; conf/config.yaml names it first, so that every value is typed.

    From here on Hydra composes with the checks of notus_exp.config.composing.
    """
    composing.install()
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, node in DATA_SCHEMAS.items():
        store.store(name=f"{name}_schema", node=node)
    for name, kind in GENERATION_SCHEMAS.items():
        store.store(name=f"{name}_generation_schema", node=kind)
    for name, judge in JUDGE_SCHEMAS.items():
        store.store(name=f"{name}_judge_schema", node=judge)
    store.store(group="hydra/sweeper", name="study", node={"_target_": SWEEPER})
    os.environ[SWEEPS] = str(sweeps_dir())
    os.environ[STUDIES] = ", ".join(sorted(path.stem for path in sweeps_dir().glob("study/*.yaml")))
    # `hardware=auto` is one of the profiles, known before anything is composed: overrides go on top as on any other.
    profile = "gpu" if cuda_devices() else "cpu"
    store.store(group="hardware", name="auto", node=OmegaConf.load(conf_dir() / "hardware" / f"{profile}.yaml"))


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
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} must be given", f"add {error.full_key}=VALUE to the command") from error
    except OmegaConfBaseException as error:
        raise explain(error) from error
    assert isinstance(config, Config)
    _check_option_names(config)
    check(config)
    check_together(config)
    return config


def _check_option_names(config: Config) -> None:
    for group in (*ALTERNATIVES, *PROGRAMMED):
        name, options = getattr(config, group).name, [path.stem for path in (conf_dir() / group).glob("*.yaml")]
        if name not in options:
            raise UserError(f"{group}.name={name} is not an option", did_you_mean(name, options))


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
            raise _unread(f"{path}{key}", kind) or unknown_key(_whole(f"{path}{key}", node._get_node(key)), beside)
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

    Args:
        config: The loaded config.
        choices: Option per group, as composed.

    Raises:
        UserError: Naming the group's options as the way to choose.
    """
    for group, choice in choices.items():
        name = getattr(getattr(config, group, None), "name", choice)
        if name != choice and (group, choice) != ("hardware", "auto"):
            raise UserError(f"{group}.name={name} cannot be set: it names the option", f"choose it with {group}={name}")


def check_together(config: Config) -> None:
    """Check what concerns several keys.

    Raises:
        UserError: Naming the keys and the remedy.
    """
    if isinstance(config.data, Simulated):
        check_simulated(config.data)
    check_curation(config)
    check_dpo(config.dpo)
    check_hardware(config.hardware, config.dpo)
    check_endpoints(config)
    if isinstance(config.data, FileData) and not config.data.path and not config.data.hub_id:
        raise UserError("data.path and data.hub_id are both null", "give data.path=FILE or data.hub_id=OWNER/NAME")
    needed = {"hub": "hub_id", "local": "path"}.get(config.model.kind)
    if needed and not getattr(config.model, needed):
        raise UserError(f"model.{needed} must be given for model.kind={config.model.kind}", f"add model.{needed}=VALUE")
    if config.model.path and config.model.kind != "local":
        raise UserError(
            f"model.path={config.model.path} is set, but model.kind={config.model.kind} is read, without it",
            "leave model.path out, or choose model=local",
        )
    for group in ("data", "model"):
        _check_hub_id(f"{group}.hub_id", getattr(getattr(config, group), "hub_id", None))
    for group in ("model", "judge"):
        _check_date(f"{group}.template_date", getattr(getattr(config, group), "template_date", None))
    for tag in config.tracking.tags:
        if len(tag) > MAX_TAG:
            raise UserError(f"tracking.tags: '{tag}' is longer than the {MAX_TAG} characters that W&B takes")


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


def _unread(key: str | None, kind: Any) -> UserError | None:
    """Return what says that a setting belongs to other options of its group; None where it belongs to none.

    Args:
        key: The whole key.
        kind: The dataclass that does not have it.
    """
    group, setting = f"{key}.".split(".")[:2]
    options = ALTERNATIVES.get(group, {})
    read = {option: [spec.name for spec in fields(other) if spec.name != "name"] for option, other in options.items()}
    chosen = next((option for option, other in options.items() if other is kind), None)
    if chosen is None or not any(setting in settings for settings in read.values()):
        return None
    hint = f"it reads {', '.join(read[chosen])}" if read[chosen] else "it reads no settings"
    return UserError(f"{key} is set, but {group}={chosen} does not read it", hint)


def _unreadable(override: str) -> UserError:
    """Say how an override is written that Hydra's grammar cannot read, such as a path with `=` in it."""
    key, equals, value = override.partition("=")
    hint = "write KEY=VALUE, quoted for the shell"
    if equals and key and value and value[0] not in "[{='\"":
        hint = f"quote the value for Hydra as well as for the shell: {for_shell(key, quoted(value))}"
    return UserError(f"cannot read '{override}' on the command line", hint)


def _several(key: str, value: str, *, listed: bool) -> UserError:
    """Say what works where several values are given: a list and a text only where the setting takes one."""
    bare, ways = key.lstrip("+"), ["add -m for an arm of each"]
    if listed and (bare == composing.LISTED or takes(bare, list)):
        ways.append(f"write '{key}=[{value}]' for a list")
    if listed and takes(bare, str):
        ways.append(f"write {for_shell(key, quoted(value))} for a text with a comma")
    return UserError(f"{key}={value} gives several values, and a single run takes one", ", or ".join(ways))


def explain(error: Exception) -> UserError:
    """Turn an error of Hydra or OmegaConf into one that names the key, the value and the nearest valid one."""
    inner: BaseException | None = error
    while inner is not None:
        inner = inner.__cause__ or inner.__context__
        if isinstance(inner, UserError):  # of the resolver of notus_exp.config.composing
            return inner
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and option in EXTRAS:
            return UserError(f"{group}={option} is not installed", f"pip install 'notus-exp[{EXTRAS[option]}]'")
        return UserError(f"{group}={option} is not an option", did_you_mean(option, error.options))
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    text = str(error)
    several = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=(.*)'", text)
    if several:
        return _several(*several.groups(), listed=text.startswith("Ambiguous"))
    chosen = re.search(r"Multiple values for ([\w/]+)\. .*: ([\w./-]+)'|^([\w/]+) appears more than once in the", text)
    if chosen:
        group, option = (chosen[1] or chosen[3]), chosen[2] or "NAME"
        in_file = f"in a file's defaults 'override /{group}: {option}'"
        return UserError(
            f"an option of {group} is added to the one that is chosen, and there is one",
            f"on the command line write {group}={option} once, without +; {in_file}",
        )
    if "HydraConfig was not set" in text:
        key = re.search(r"full_key: ([\w.\[\]-]+)", text)
        return UserError(
            f"{key[1] if key else 'a setting'} asks Hydra for a value by ${{hydra:...}}, and none may be made of it",
            "write the value; a relative path starts where the command is called",
        )
    if "Unexpected type for root" in text:
        return UserError("a key of an evaluation is set that is not chosen", "add it: 'evaluation=[...,NAME]'")
    if "does not support deletion" in f"{text} {error.__cause__}" or "missing 1 required positional argument" in text:
        return UserError("a setting cannot be taken away with ~", "give it another value with KEY=VALUE")
    if "Config group override must be a string or a list" in text:
        what = "a group cannot be null" if "NoneType" in text else "a group is given what is no name of an option"
        return UserError(what, "name one of its options (--help lists them), or leave the group out")
    if "Cannot convert 'DictConfig' to string" in text:
        return UserError(
            "a mapping is given where a word is expected",
            "look for a misspelt key, such as study.arm for study.arms; the comments in conf/ name all keys",
        )
    overlay = re.search(r"In '([\w/]+)': \w+ raised while composing config:\s*(.*)", text)
    cause = error.__cause__ or error.__context__  # Hydra chains most of its errors, not those of overlays
    if overlay:
        unread = _unread(cause.full_key, cause.object_type) if isinstance(cause, OmegaConfBaseException) else None
        where = cause.full_key if isinstance(cause, OmegaConfBaseException) else None
        said = unread or misfit(where or "", first_line(str(cause)))
        reason, hint = (said.message, said.hint) if said else (overlay.group(2), "")
        return UserError(f"{overlay.group(1)} does not fit the other choices: {reason}".rstrip(": "), hint)
    unknown = re.search(r"Could not (?:load|find) '([\w/]+)/(\w+)'", text)
    if unknown:
        group, option = unknown.groups()
        known = [path.stem for path in (conf_dir() / group).glob("*.yaml")]
        return UserError(f"{group}={option} is not an option", did_you_mean(option, known))
    key = re.search(
        r"(?:full_key: |Could not override '|parsing override '|Error merging override )([\w.\[\]-]+)", text
    )
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        merged = re.search(r"Error merging override \+*([^\n]*)", text)
        given = merged[1] if merged else ""
        if "is not in struct" in str(cause) or "not in '" in str(cause):
            name = cause.full_key or (key.group(1) if key else str(cause.key))
            if unread := _unread(name, cause.object_type):
                return unread
            for mapping in (*MAPPINGS, *DOTTED_MAPPINGS):
                if name == mapping or name.startswith(f"{mapping}."):
                    entry = f"'+{mapping}={{NAME:VALUE}}'" if mapping in DOTTED_MAPPINGS else f"+{mapping}.NAME=VALUE"
                    return UserError(f"unknown entry of {mapping}", f"add one with {entry}")
            return unknown_key(key[1] if key and key[1].startswith(f"{name}.") else name)
        name = cause.full_key or (key.group(1) if key else "")
        return misfit(name, str(cause), given) or UserError(f"{name}: {first_line(cause)}")
    first = first_line(error)
    return UserError(f"{key.group(1)}: {first}" if key and key.group(1) not in first else first)
