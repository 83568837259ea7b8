"""What a config takes from elsewhere: a bounded number of interpolations is followed, and none to a secret."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

from omegaconf import Container, DictConfig, Node, OmegaConf

from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, names_secret

MOST_STEPS, MOST_CHARACTERS = 2_000, 10_000_000
"""Interpolations that may be followed for one composed config, and characters that they may give in all."""
GROWS = "a value that repeats values grows without bound; write out what is meant"
READABLE = "NOTUS_EXP_"
"""Begins the names of the variables that a config may read: configs are printed, written to files and sent away."""

_follow = Container.resolve_parse_tree
_read = Container._resolve_node_interpolation
_call = Container._evaluate_custom_resolver
_steps = itertools.count()
_characters = [0]
_referred = [False]


def bound_interpolations() -> None:
    """Let OmegaConf follow a bounded number of interpolations, to no secret."""
    Container.resolve_parse_tree = _counted  # type: ignore[method-assign, assignment]
    Container._resolve_node_interpolation = _bounded(_read)  # type: ignore[method-assign]
    Container._evaluate_custom_resolver = _bounded(_call)  # type: ignore[method-assign]
    OmegaConf.register_new_resolver("oc.env", environment_variable, replace=True)


def begin() -> None:
    """Count anew: a config is composed."""
    global _steps
    _steps, _characters[0], _referred[0] = itertools.count(), 0, False


def refers_elsewhere(composed: DictConfig) -> bool:
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
