"""What is said of a key that no setting has, and of a value that a setting cannot take, in our words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from notus_exp.config.schema import known_settings, known_types
from notus_exp.errors import UserError, did_you_mean

OTHER_WORDS = {
    "lr": "dpo.learning_rate",
    "wd": "dpo.weight_decay",
    "loss": "dpo.loss_type",
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
GROUPS = ("experiment", "study")
"""Groups of options that are no settings."""
_GIVEN = re.compile(
    r"Value '(?P<converted>.*)' (?:of type|is not a valid bool)|Invalid value '(?P<chosen>.*)', expected"
    r"|Cannot convert '\w+' to string: '(?P<text>.*)'|is not a subclass of \w+. value: (?P<section>.*)",
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
_ITEMS = {"Integer": "whole number", "Float": "number", "Boolean": "yes or no"}
"""Likewise for an item of a list, whose type OmegaConf names."""


def unknown_key(key: str, known: Iterable[str] | None = None) -> UserError:
    """Return what says that no setting has this key, with the one that is meant or the nearest.

    Args:
        key: Dotted.
        known: Among which the nearest is looked for; None for all settings.
    """
    meant = OTHER_WORDS.get(key.rpartition(".")[2])
    return UserError(
        f"unknown key '{key}'", f"did you mean '{meant}'?" if meant else did_you_mean(key, known or known_settings())
    )


def settings_called(word: str) -> list[str]:
    """Return the settings and groups that a bare word, such as the name of a flag, may stand for."""
    name = word.replace("-", "_")
    settings = known_settings()
    if name in settings or name in GROUPS:
        return [name]
    if name in OTHER_WORDS:
        return [OTHER_WORDS[name]]
    return sorted(key for key in settings if key.endswith(f".{name}"))


def misfit(key: str, problem: str, override: str = "") -> UserError | None:
    """Return what says that a setting cannot take a value; None where the problem is another.

    Args:
        key: The setting, dotted.
        problem: OmegaConf's words.
        override: The override that gave the value, where it was given on a command line.
    """
    types = known_types().get(key)
    shown = re.search(_GIVEN, problem)
    value = override.partition("=")[2] or (next(filter(None, shown.groups()), "") if shown else "")
    if "is not Optional" in problem or "Incompatible value 'None'" in problem:
        return UserError(f"{key}=null: it needs a value", f"{_example(key, '', types or set())}, or leave it out")
    item, converted = re.fullmatch(r"(.*)\[\d+\]", key), re.search(r"converted to (\w+)", problem)
    if item and shown and converted:
        return UserError(f"{item[1]}: '{shown['converted']}' is no {_ITEMS.get(converted[1], converted[1])}")
    fits = ("Cannot assign", "Cannot merge", "is not a ListConfig")
    if types is None or not (shown or any(words in problem for words in fits)):
        return None
    named = f"{key}={value}" if value else key
    options = next((kind for kind in types if isinstance(kind, type) and issubclass(kind, Enum)), None)
    if options is not None:
        return UserError(f"{named} is not an option", _option(value, [option.name for option in options]))
    section = next(filter(is_dataclass, types), None)
    if section is not None:
        inside = [name for name in known_settings() if name.startswith(f"{key}.") and "." not in name[len(key) + 1 :]]
        return UserError(
            f"{named}: it holds settings of its own", f"write one of {', '.join(f'{name}=VALUE' for name in inside)}"
        )
    word = next((word for kind, (word, _) in _KINDS.items() if kind in types), "value of this setting")
    return UserError(f"{named} is no {word}", _example(key, value, types))


def _option(value: str, options: list[str]) -> str:
    """Return the option that is meant, the nearest, or all, in their own order."""
    if OTHER_STAGES.get(value) in options:
        return f"did you mean '{OTHER_STAGES[value]}'?"
    near = did_you_mean(value, options)
    return f"one of {', '.join(options)}" if near.startswith("known: ") else near


def _example(key: str, value: str, types: set[Any]) -> str:
    """Return how a setting of these types is written."""
    if list in types:
        return f"write '{key}=[{'VALUE' if set(value) & set('[]{}') or not value else value}]'"
    if dict in types:
        return f"write '{key}={{NAME:VALUE}}'"
    return f"write {key}={next((form for kind, (_, form) in _KINDS.items() if kind in types), 'VALUE')}"
