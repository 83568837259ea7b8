"""What Hydra and OmegaConf find wrong, in our words: whatever they raise leaves as an error that names a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from notus_exp.config import composing
from notus_exp.config.commandline import for_shell, quoted
from notus_exp.config.data_settings import FORMATS
from notus_exp.config.folders import conf_dir
from notus_exp.config.misfits import (
    DOTTED_MAPPINGS,
    GROUPS,
    MAPPINGS,
    decimal_comma,
    misfit,
    unknown_key,
    unread,
)
from notus_exp.config.schema import ITEM, known_settings, known_types, takes
from notus_exp.config.study_settings import FIXED
from notus_exp.errors import UserError, did_you_mean, first_line

EXTRAS = {"submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}
"""Launcher of Hydra -> the extra of this package that installs it."""
LAUNCHER = "hydra/launcher"
OTHER_LAUNCHERS = {"slurm": "submitit_slurm", "submitit": "submitit_slurm", "local": "submitit_local"}
"""A launcher as its users call it -> its name."""
WRITE = "settings are written KEY=VALUE; --cfg job prints them all, and the comments in conf/ say what each takes"
OPTIONS = "name one of its options (--help lists them), or leave the group out"
Said = Callable[[re.Match[str], str], UserError]


def explain(error: Exception, overrides: Sequence[str] = ()) -> UserError:
    """Turn an error of Hydra or OmegaConf into one that names the key, the value and what works.

    What nothing here knows is said without their words.

    Args:
        error: Theirs, or one of ours that they wrapped.
        overrides: Those that were composed, as given.
    """
    inner: BaseException | None = error
    while inner is not None:
        inner = inner.__cause__ or inner.__context__
        if isinstance(inner, UserError):  # of the resolver of notus_exp.config.composing
            return inner
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        return _no_option(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    text = str(error)
    merged = re.search(r"(?:Error merging override |To append to your config use )([^\n]*)", text)
    given = merged[1] if merged else ""
    for pattern, say in _PATTERNS:
        if found := re.search(pattern, f"{text} {error.__cause__ or ''}"):
            return say(found, given)
    if "Unexpected type for root" in text:
        return _not_chosen(overrides)
    if "Config group override must be a string or a list" in text:
        return _no_name(overrides, null="NoneType" in text)
    overlay = re.search(r"In '([\w/]+)': (?:\w+ raised while composing config:\s*)?(.*)", text)
    cause = error.__cause__ or error.__context__  # Hydra chains most of its errors, not those of overlays
    if overlay:
        reason = _of_value(cause, "") if isinstance(cause, OmegaConfBaseException) else None
        message = f"{overlay[1]} does not fit the other choices"
        return UserError(f"{message}: {reason.message}", reason.hint) if reason else UserError(message, WRITE)
    if isinstance(error, OmegaConfBaseException):
        said = _of_value(error, given)
    else:
        said = _of_value(cause, given) if isinstance(cause, OmegaConfBaseException) else None
    return said or _residual(error, given)


def _of_value(error: OmegaConfBaseException, given: str) -> UserError | None:
    """Say what is wrong with a key or its value; None where the error names neither.

    Args:
        error: OmegaConf's.
        given: The override at fault, or "" for a value of a file.
    """
    text, key = str(error), error.full_key or given.lstrip("+~").partition("=")[0]
    override = given.lstrip("+~")
    if in_list := _of_list_item(error, key, override.partition("=")[0]):
        return in_list
    dotted = next((mapping for mapping in DOTTED_MAPPINGS if override.startswith(f"{mapping}.")), None)
    if dotted and "." in override.partition("=")[0][len(dotted) + 1 :]:
        name, _, value = override[len(dotted) + 1 :].partition("=")
        return UserError(
            f"unknown entry of {dotted}: a name with dots is written within braces",
            f"write '+{dotted}={{NAME:VALUE}}', here '+{dotted}={{{name}: {value}}}'",
        )
    if isinstance(error, MissingMandatoryValue):
        return UserError(f"{key} must be given", f"add {key}=VALUE to the command")
    if isinstance(error, InterpolationResolutionError) or "interpolation" in text.lower():
        return _reference(error, key, text)
    if "is not in struct" in text or "not in '" in text:
        return unread(key, error.object_type) or _unknown(key, override)
    return misfit(key, text, given)


def _of_list_item(error: OmegaConfBaseException, key: str, given: str) -> UserError | None:
    """Say what is wrong with an item of a list whose items have settings of their own; None elsewhere."""
    whole = re.match(r"[\w.]+(?=\[\d+\])", key)
    base = whole[0] if whole else given
    kind = next(filter(is_dataclass, known_types().get(f"{base}{ITEM}", ())), None)
    if kind is None or key == base:
        return None
    known = [spec.name for spec in fields(kind)]
    example = f"write each item of {base} with some of {', '.join(f'{name}: VALUE' for name in known)}"
    setting = key.rpartition(".")[2]
    if setting not in known:
        unknown = isinstance(error, ConfigKeyError | ConfigAttributeError)
        return (
            UserError(f"unknown key '{setting}' in {base}", did_you_mean(setting, known))
            if unknown
            else UserError(f"{base} holds what is no item of it", example)
        )
    if isinstance(error, MissingMandatoryValue):
        return UserError(f"{key} must be given", f"add {setting}: VALUE to that item")
    return UserError(f"{base}: {setting} is given what it cannot take", example)


def _unknown(key: str, override: str) -> UserError:
    given, _, value = override.partition("=")
    if key in GROUPS:
        return UserError(f"{key}={value} is no name of an option", f"write {key}=NAME (--help lists them)")
    for mapping in (*MAPPINGS, *DOTTED_MAPPINGS):
        if key == mapping or key.startswith(f"{mapping}."):
            entry = f"'+{mapping}={{NAME:VALUE}}'" if mapping in DOTTED_MAPPINGS else f"+{mapping}.NAME=VALUE"
            return UserError(f"unknown entry of {mapping}: '{key[len(mapping) + 1 :]}'", f"add one with {entry}")
    return unknown_key(given if given.startswith(f"{key}.") else key)


def _reference(error: OmegaConfBaseException, key: str, text: str) -> UserError:
    """Say that `${...}` leads nowhere, or to what a setting cannot take."""
    named = key or "a setting"
    hint = "write the value itself, or ${KEY} with the whole key of another setting, such as ${dpo.epochs}"
    if isinstance(error, InterpolationKeyError) and (found := re.search(r"key '([^']*)' not found", text)):
        return UserError(f"{named} refers to ${{{found[1]}}}, and there is no such setting", hint)
    if isinstance(error, UnsupportedInterpolationType):
        return UserError(f"{named} asks for a value by a ${{NAME:...}} that there is not", hint)
    if "Recursive" in text:
        return UserError(f"{named} refers by ${{...}} to itself", hint)
    found = re.search(r"interpolation '([^']*)'", text)
    if found and "converted" in text:
        return UserError(f"{named} refers to {found[1]}, whose value it cannot take", hint)
    return UserError(f"{named} refers by ${{...}} to what has no value", hint)


def _no_option(missing: str, known: Iterable[str]) -> UserError:
    """Say that a group has no such option, and what was meant by the name of a file or of a model.

    Args:
        missing: Group and option, with `/` between.
        known: The options of the group.
    """
    if missing.startswith(f"{LAUNCHER}/"):
        return _no_launcher(missing[len(LAUNCHER) + 1 :], known)
    group, _, option = missing.partition("/")
    message = f"{group}={option} is not an option"
    place, on_hub = Path(option), re.fullmatch(r"[\w.-]+/[\w.-]+", option)
    local = option.startswith(("/", "./", "../", "~")) or place.exists()
    if group == "data" and (option.endswith(tuple(FORMATS)) or local):
        hint = f"a file or folder is read with data=rated data.path={option} (or data=ultrafeedback, data=pairs)"
    elif group == "data" and on_hub:
        hint = f"a data set of the hub is read with data=rated data.hub_id={option} (or data=ultrafeedback, data=pairs)"
    elif group == "model" and local:
        hint = f"a folder is read with model=local model.path={option}"
    elif group == "model" and on_hub:
        hint = f"a model of the hub is read with model=hub model.hub_id={option}"
    else:
        hint = did_you_mean(option, known)
        if hint.startswith("known: ") and option and group in ("model", "judge"):
            wanted = "model=hub model.hub_id" if group == "model" else "judge=openai judge.model"
            hint += f"; a model of that name is {wanted}={option}"
    return UserError(message, hint)


def _no_launcher(option: str, known: Iterable[str]) -> UserError:
    message = f"{LAUNCHER}={option} is not"
    if option in EXTRAS:
        return UserError(f"{message} installed", f"pip install 'notus-exp[{EXTRAS[option]}]'")
    if meant := OTHER_LAUNCHERS.get(option):
        needed = "" if meant in known else f", after pip install 'notus-exp[{EXTRAS[meant]}]'"
        return UserError(f"{message} an option", f"write {LAUNCHER}={meant}{needed}")
    extras = [f"{name} (pip install 'notus-exp[{extra}]')" for name, extra in EXTRAS.items() if name not in known]
    return UserError(f"{message} an option", f"known: {', '.join([*sorted(known), *extras])}")


def _not_chosen(overrides: Sequence[str]) -> UserError:
    """Say which evaluation has a setting and is not chosen; Hydra's words do not."""
    chosen = composing.chosen_evaluations()
    for override in overrides:
        section = re.match(r"\+*(evaluation\.(\w+)[.\w]*)=(.*)", override)
        if section and section[2] not in chosen:
            hint = f"add it: 'evaluation=[{','.join([*chosen, section[2]])}]'"
            return UserError(f"{section[1]}={section[3]} is set, but evaluation.{section[2]} is not chosen", hint)
    return UserError("a key of an evaluation is set that is not chosen", "add it: 'evaluation=[...,NAME]'")


def _no_name(overrides: Sequence[str], *, null: bool) -> UserError:
    """Say that a group is given what is no name of an option."""
    groups = {*(path.name for path in conf_dir().iterdir() if path.is_dir()), *GROUPS, LAUNCHER}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if not key:
            return UserError(f"'{override}' has no key", WRITE)
        if key in groups and (value == "null") is null and (null or re.fullmatch(r"[\d.e-]+|true|false|\[.*", value)):
            message = f"{key}={value}: a group cannot be null" if null else f"{key}={value} is no name of an option"
            return UserError(message, OPTIONS)
    return UserError("a group cannot be null" if null else "a group is given what is no name of an option", OPTIONS)


def _unreadable(override: str) -> UserError:
    """Say how an override is written that Hydra's grammar cannot read, such as a path with `=` in it."""
    key, equals, value = override.partition("=")
    hint = "write KEY=VALUE, quoted for the shell"
    if equals and key and value and value[0] not in "[{='\"":
        hint = f"quote the value for Hydra as well as for the shell: {for_shell(key, quoted(value))}"
    return UserError(f"cannot read '{override}' on the command line", hint)


def _several(key: str, value: str, *, listed: bool) -> UserError:
    """Say what works where several values are given: a list and a text only where the setting takes one."""
    bare = key.lstrip("+")
    fixed = bare != "seed" and re.split(r"[./@]", bare)[0] in FIXED
    ways = [f"write {bare}= with one of them"] if fixed else ["add -m for an arm of each"]
    if point := decimal_comma(bare, value):
        ways.insert(0, point)
    if listed and (bare == composing.LISTED or takes(bare, list)):
        ways.append(f"write '{key}=[{value}]' for a list")
    if listed and takes(bare, str):
        ways.append(f"write {for_shell(key, quoted(value))} for a text with a comma")
    return UserError(f"{key}={value} gives several values, and a single run takes one", ", or ".join(ways))


def _added(found: re.Match[str], given: str) -> UserError:
    key, written = found[1], re.search(r"Either remove \+ prefix: '(.*)'", found.string)
    value = written[1] if written else f"{key}=VALUE"
    return UserError(f"+{value} adds a setting, and there is {key} already", f"write {value}, without +")


def _second_option(found: re.Match[str], given: str) -> UserError:
    group, option = (found[1] or found[3]), found[2] or "NAME"
    in_file = f"in a file's defaults 'override /{group}: {option}'"
    return UserError(
        f"an option of {group} is added to the one that is chosen, and there is one",
        f"on the command line write {group}={option} once, without +; {in_file}",
    )


def _no_group(found: re.Match[str], given: str) -> UserError:
    name = found[1]
    if not name.strip("="):
        return UserError("an argument has no key before its '='", WRITE)
    return UserError(f"'{name}' is no group with an option to choose", WRITE)


def _nothing_to_delete(found: re.Match[str], given: str) -> UserError:
    key = found[1]
    if not key.strip("="):
        return UserError("an argument has ~ and no key behind it", "write ~KEY.NAME, for an entry of a mapping")
    hint = f"entries of mappings alone are taken away, such as ~{MAPPINGS[0]}.NAME"
    mapping = key.rpartition(".")[0]
    if mapping in MAPPINGS:
        hint = f"--cfg job prints what is in {mapping}"
    return UserError(f"~{key}: there is no '{key}' as given that could be taken away", hint)


_PATTERNS: list[tuple[str, Said]] = [
    (
        r"^(Ambiguous value for argument|Sweep parameters) '([^=]+)=(.*)'",
        lambda found, _: _several(found[2], found[3], listed=found[1].startswith("Ambiguous")),
    ),
    (
        r"Multiple values for ([\w/]+)\. .*: ([\w./-]+)'|^([\w/]+) appears more than once in the",
        _second_option,
    ),
    (
        r"HydraConfig was not set(?:(?:.|\n)*?full_key: ([\w.\[\]-]+))?",
        lambda found, _: UserError(
            f"{found[1] or 'a setting'} asks Hydra for a value by ${{hydra:...}}, and none may be made of it",
            "write the value; a relative path starts where the command is called",
        ),
    ),
    (r"An item is already at '([^']*)'", _added),
    (r"Could not override '([^']*)'\. No match in the defaults list", _no_group),
    (r"Could not override '([^']*@[^']*)'", _no_group),
    (r"config group '([^']*)' does not exist", _no_group),
    (r"Could not delete (?:from config\. (?:The value of )?)?'([^']*)'", _nothing_to_delete),
    (
        r"does not support deletion|missing 1 required positional argument",
        lambda *_: UserError("a setting cannot be taken away with ~", "give it another value with KEY=VALUE"),
    ),
    (
        r"force-add of config groups is not supported: '\+\+([^=']*)=?(.*)'",
        lambda found, _: UserError(f"++{found[1]}={found[2]}: an option is not added", f"write {found[1]}={found[2]}"),
    ),
    (
        r"You must specify '([^']*)'",
        lambda found, _: UserError(f"{found[1]} must be given", f"add {found[1]}=NAME (--help lists its options)"),
    ),
    (
        r"Cannot convert 'DictConfig' to string",
        lambda *_: UserError(
            "a mapping is given where a word is expected",
            "look for a misspelt key, such as study.arm for study.arms; the comments in conf/ name all keys",
        ),
    ),
    (
        r"Could not (?:load|find) '([\w/]+)/(\w+)'",
        lambda found, _: _no_option(
            f"{found[1]}/{found[2]}", [path.stem for path in (conf_dir() / found[1]).glob("*.yaml")]
        ),
    ),
]
"""What Hydra says, and what is said of it; the first that is found."""


def _residual(error: Exception, given: str) -> UserError:
    """Say of an error that nothing knows where it is, without the words of the library that raised it."""
    if not isinstance(error, HydraException | OmegaConfBaseException) or not str(error).strip():
        return UserError(first_line(error))
    key = re.search(r"(?:full_key: |[Oo]verride '?)([\w.\[\]/-]+)", str(error))
    if given:
        return UserError(f"'{given}' does not fit the configuration", WRITE)
    if key and key[1].partition("[")[0] in known_settings():
        return UserError(f"{key[1]} is given what it cannot take", WRITE)
    return UserError("what is given does not fit the configuration", WRITE)
