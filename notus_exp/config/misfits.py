"""What is said of a key that no setting has, and of a value that a setting cannot take, in our words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import EnumType
from typing import Any

from notus_exp.config.schema import ALTERNATIVES, ITEM, known_settings, known_types, takes
from notus_exp.errors import UserError, did_you_mean

OTHER_WORDS = {
    "lr": "dpo.learning_rate",
    "wd": "dpo.weight_decay",
    "loss": "dpo.loss_type",
    "simpo_gamma": "dpo.gamma_beta_ratio",
    "desirable_weight": "dpo.kto_desirable_weight",
    "undesirable_weight": "dpo.kto_undesirable_weight",
    "f_divergence": "dpo.f_divergence_type",
    "scheduler": "dpo.lr_scheduler",
    "lr_scheduler_type": "dpo.lr_scheduler",
    "optim": "dpo.optimizer",
    "warmup_ratio": "dpo.warmup",
    "warmup_steps": "dpo.warmup",
    "num_train_epochs": "dpo.epochs",
    "rank": "dpo.lora.r",
    "lora_r": "dpo.lora.r",
    "lora_alpha": "dpo.lora.alpha",
    "lora_dropout": "dpo.lora.dropout",
    "per_device_train_batch_size": "hardware.micro_batch_size",
    "model_name_or_path": "model.hub_id",
}
"""The last word of a key, as other trainers and their users have it -> the setting that is meant."""
OTHER_STAGES = {
    "train": "policy",
    "training": "policy",
    "curate": "pairs",
    "curation": "pairs",
    "evaluate": "evaluation",
}
"""What a stage does -> its name."""
GROUPS = ("experiment", "curation", "study")
"""Groups of options that are no settings."""
OTHER_LAUNCHES = {
    "accelerate": "it is ddp now, or deepspeed with hardware.zero_stage",
    "fsdp": "did you mean 'fsdp2'?",
}
"""An option of `hardware.launch` as earlier profiles or other trainers have it -> what is said of it."""
MAPPINGS = (
    "data.skills",
    "data.principles",
    "data.rubrics",
    "data.mapping.roles",
    "data.mapping.speakers",
    "selection.weights",
)
"""Keys whose entries the user names."""
DOTTED_MAPPINGS = ("study.arms", "study.grid", "study.tuning.values", "study.search.parameters",
                   "study.search.objectives", "study.search.constraints")  # fmt: skip
"""Likewise, where a name may itself be a dotted key or a metric."""
MOST_INSIDE = 5
"""Settings of a section that are shown at most."""
MOST_SEEDS = 20
"""Seeds that are written out at most."""
OF_PLACES = ("path", "hub_id", "base_url", "sources")
"""Settings that say where something lies: who gives one has forgotten to choose the option that reads it."""
_GIVEN = re.compile(
    r"Value '(?P<converted>.*)' (?:of type|is not a valid bool)|Invalid value '(?P<chosen>.*)', expected"
    r"|Cannot convert '\w+' to string: '(?P<text>.*)'|is not a subclass of \w+. value: (?P<section>.*)"
    r"|Value (?P<shown>.*) \(\w+\) is ",
    re.S,
)
"""How OmegaConf shows a value that it cannot convert."""
_KINDS: dict[Any, tuple[str, str]] = {
    list: ("list", "[VALUE]"),
    dict: ("mapping", "{NAME:VALUE}"),
    int: ("whole number", "WHOLE_NUMBER"),
    float: ("number", "NUMBER"),
    bool: ("yes or no", "true, or false"),
    str: ("text", "TEXT"),
}
"""Type of a setting -> what its value is called, and how it is written."""
_OF_SEEDS = ("seed", "study.seeds")


def unknown_key(key: str, known: Iterable[str] | None = None) -> UserError:
    """Return what says that no setting has this key, with the one that is meant or the nearest.

    Args:
        key: Dotted.
        known: Among which the nearest is looked for; None for all settings.
    """
    meant = OTHER_WORDS.get(key.rpartition(".")[2])
    return UserError(
        f"unknown key '{key}'",
        f"did you mean '{meant}'?" if meant else did_you_mean(key, known or [*known_settings(), *GROUPS]),
    )


def settings_called(word: str) -> list[str]:
    """Return the settings and groups that a bare word, such as the name of a flag, may stand for.

    Of those that both trainings have it is the preferences' alone, which every run has.
    """
    name = word.replace("-", "_")
    settings = known_settings()
    if name in settings or name in GROUPS:
        return [name]
    if name in OTHER_WORDS:
        return [OTHER_WORDS[name]]
    found = sorted(key for key in settings if key.endswith(f".{name}"))
    return [key for key in found if not (key.startswith("sft.") and f"dpo.{key[4:]}" in found)]


def unread(key: str | None, kind: Any) -> UserError | None:
    """Return what says that a setting belongs to other options of its group; None where it belongs to none.

    Args:
        key: The whole key.
        kind: The dataclass that does not have it.
    """
    group, setting = f"{key}.".split(".")[:2]
    options = ALTERNATIVES.get(group, {})
    read = {option: [spec.name for spec in fields(other) if spec.name != "name"] for option, other in options.items()}
    chosen = next((option for option, other in options.items() if other is kind), None)
    readers = [f"{group}={option}" for option, settings in read.items() if setting in settings]
    if chosen is None or not readers:
        return None
    if setting in OF_PLACES:
        hint = f"choose what reads it too: {' or '.join(readers)}"
    else:
        hint = f"it reads {', '.join(read[chosen])}" if read[chosen] else "it reads no settings"
    return UserError(f"{key} is set, but {group}={chosen} does not read it", hint)


def misfit(key: str, problem: str, override: str = "") -> UserError | None:
    """Return what says that a setting cannot take a value, from the setting's own type; None where there is none.

    Args:
        key: The setting, dotted; an entry of a mapping or `[0]` of a list may follow.
        problem: OmegaConf's words, of which only the value is taken.
        override: The override that gave the value, where it was given on a command line.
    """
    known = known_types()
    declared = _declared(key, known)
    if declared is None:
        return None
    types, given = known[declared], override.lstrip("+").partition("=")
    shown = re.search(_GIVEN, problem)
    value = given[2] if given[0] == key else next(filter(None, shown.groups()), "") if shown else ""
    base, of_item, _ = key.partition("[")
    form = next((form for kind, (_, form) in _KINDS.items() if kind in types), "VALUE")
    if "is not Optional" in problem or "Incompatible value 'None'" in problem or "assigned: NoneType" in problem:
        example = f"write '{base}=[{form},...]'" if of_item else _example(key, "", types)
        return UserError(f"{key}=null: it needs a value", f"{example}, or leave it out")
    if _holds_nothing(given[0], key, types):
        return UserError(f"unknown key '{given[0]}': {key} holds no settings", _example(key, "", types))
    named = f"{key}={value}" if value else key
    options = _options(types)
    if options:
        return UserError(f"{named} is not an option", _option(key, value, options))
    if any(map(is_dataclass, types)):
        return UserError(f"{named}: it holds settings of its own", _inside(key))
    word = next((word for kind, (word, _) in _KINDS.items() if kind in types), "value of this setting")
    if of_item:
        return UserError(f"{base}: '{value}' is no {word}", f"write '{base}=[{form},...]'")
    return UserError(f"{named} is no {word}", _example(key, value, types))


def numbered(override: str) -> UserError | None:
    """Return what says that an option is given by a number, which OmegaConf would take for its place among them."""
    key, _, value = override.lstrip("+").partition("=")
    types = known_types().get(key, set()) if re.fullmatch(r"\d+", value) else set()
    return misfit(key, "", override) if any(isinstance(kind, EnumType) for kind in types) else None


def decimal_comma(key: str, value: str) -> str:
    """Return what is meant where a number was written with a comma for its point, as `0,05`; "" elsewhere."""
    number = re.fullmatch(r"(-?\d+),(\d+)", value)
    return f"write {key}={number[1]}.{number[2]} for a decimal point" if number and takes(key, float) else ""


def _declared(key: str, known: Mapping[str, Any]) -> str | None:
    """Return the name under which `known_types` has a setting, an entry of a mapping or an item of a list."""
    item = re.fullmatch(r"(.+)\[\d+\]", key)
    if item:
        within = _declared(item[1], known)
        return f"{within}{ITEM}" if f"{within}{ITEM}" in known else None
    if key in known:
        return key
    return next((f"{base}{ITEM}" for base in known if dict in known[base] and key.startswith(f"{base}.")), None)


def _options(types: set[Any]) -> list[str]:
    """Return the names of an enum among types; none where there is no enum."""
    return [name for kind in types if isinstance(kind, EnumType) for name in kind.__members__]


def _holds_nothing(given: str, key: str, types: set[Any]) -> bool:
    """Say whether a key was given as if it lay within a setting that is a plain value."""
    return given.startswith(f"{key}.") and not any(kind in (dict, list) or is_dataclass(kind) for kind in types)


def _inside(key: str) -> str:
    """Say how the settings of a section are written."""
    inside = [name for name in known_settings() if name.startswith(f"{key}.") and "." not in name[len(key) + 1 :]]
    if key == "evaluation":
        return f"write 'evaluation=[NAME,...]' with some of {', '.join(name[len(key) + 1 :] for name in inside)}"
    more = ", ..." if len(inside) > MOST_INSIDE else ""
    return f"write one of {', '.join(f'{name}=VALUE' for name in inside[:MOST_INSIDE])}{more}"


def _option(key: str, value: str, options: list[str]) -> str:
    """Return the option that is meant, the nearest, or all, in their own order."""
    word = value.strip("[]'\" ")
    if word in options:
        return f"write {key}={word}"
    if OTHER_STAGES.get(word) in options:
        return f"did you mean '{OTHER_STAGES[word]}'?"
    if word in OTHER_LAUNCHES and key == "hardware.launch":
        return OTHER_LAUNCHES[word]
    near = did_you_mean(word, options)
    return f"one of {', '.join(options)}" if near.startswith("known: ") else near


def _example(key: str, value: str, types: set[Any]) -> str:
    """Return how a setting of these types is written."""
    if key in _OF_SEEDS and (seeds := _meant_seeds(value, several=list in types)):
        return seeds
    plain = value and not set(value) & set("[]{}")
    if list in types and key.startswith(tuple(f"{mapping}." for mapping in DOTTED_MAPPINGS)):
        mapping = next(mapping for mapping in DOTTED_MAPPINGS if key.startswith(f"{mapping}."))
        return f"write '+{mapping}={{{key[len(mapping) + 1 :]}: [{value if plain else 'VALUE'}]}}'"
    if list in types:
        return f"write '{key}=[{value if plain else 'VALUE'}]'"
    if dict in types:
        return f"write '{key}={{NAME:VALUE}}'"
    if float in types and (point := decimal_comma(key, value)):
        return point
    options = _options(types)
    form = next((form for kind, (_, form) in _KINDS.items() if kind in types), "VALUE")
    return f"write {key}={' or '.join(options) or form}"


def _meant_seeds(value: str, *, several: bool) -> str:
    """Return how seeds are written that were given as a range, or as their number; "" where they were not."""
    ends = re.fullmatch(r"(\d{1,9})(?:-|\.\.|:)(\d{1,9})", value)
    if ends and 0 <= int(ends[2]) - int(ends[1]) < MOST_SEEDS:
        listed = ",".join(map(str, range(int(ends[1]), int(ends[2]) + 1)))
        return f"with -m write seed={listed}, for a run of each" if not several else f"write 'study.seeds=[{listed}]'"
    if several and re.fullmatch(r"\d{1,9}", value):
        count = f"'study.seeds=[{','.join(map(str, range(int(value))))}]' for {value} seeds, or "
        return f"write {count if 1 < int(value) <= MOST_SEEDS else ''}'study.seeds=[{value}]' for seed {value} alone"
    return ""
