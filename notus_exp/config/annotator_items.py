"""The items of `annotators`: each is an option of the group `judge`, composed as the group would be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config.annotator_settings import RUBRICS, Annotator
from notus_exp.config.endpoint_checks import check_endpoint
from notus_exp.config.homes import expand_homes, replace_home
from notus_exp.config.misfits import misfit
from notus_exp.config.ranges import HUB
from notus_exp.config.told_as import told_as
from notus_exp.errors import UserError, did_you_mean

OWN = ("name", "judge", "reward_model", "rubric", "scale", "pairs", "together", "form", "report")
"""Keys of an item that are no settings of its judge."""
_OF_JUDGE = re.compile(r"\bjudge\.(?=[a-z_]+\b)")
EXAMPLE = "write 'annotators=[{name: helpful, judge: openai, model: NAME, rubric: helpfulness}]'"


def named_annotator(number: int) -> str:
    """Return the key of an item."""
    return f"annotators[{number}]"


@contextmanager
def told_of_annotator(key: str) -> Iterator[None]:
    """Let an error that speaks of `judge.SETTING` speak of an annotator's setting (see `told_as`).

    A budget may be the run's own, which stays a remedy.

    Raises:
        UserError: The one that was raised within, with the key.
    """
    try:
        with told_as(key, _OF_JUDGE):
            yield
    except UserError as error:
        raised = f"raise {key}.budget"
        if key.startswith("data."):  # it may be what data.budget leaves
            message = error.message.replace(f"{key}.budget=", f"data.budget, or {key}.budget, of ")
            raise UserError(message, error.hint.replace(raised, "raise it")) from error
        raise UserError(error.message, error.hint.replace(raised, f"{raised}, or judge.budget for all")) from error


def expand_annotators(
    composed: DictConfig, chosen: str, options: Sequence[str], compose: Callable[[str], DictConfig]
) -> None:
    """Turn the items of a composed config into `Annotator`.

    An item that names no judge asks the run's own. A judge has the run's settings where that is the same option, else
    those of its option; keys of the item go before both.

    Args:
        composed: The whole config.
        chosen: The run's option of the group `judge`.
        options: Names of the options of the group `judge`.
        compose: Returns the group as an option composes it.

    Raises:
        UserError: An item that is no mapping, names no judge, or sets what its judge does not have.
    """
    composed.annotators = [
        _annotator(number, item, chosen, options, compose) for number, item in enumerate(composed.annotators)
    ]


def _annotator(
    number: int, item: Any, chosen: str, options: Sequence[str], compose: Callable[[str], DictConfig]
) -> DictConfig:
    key = named_annotator(number)
    if not isinstance(item, DictConfig):
        raise UserError(f"{key} is no mapping", EXAMPLE)
    given: Any = OmegaConf.to_container(item, resolve=True)
    if given.get("name") is None:
        raise UserError(f"{key}.name must be given: expressions name the column by it", EXAMPLE)
    judge = composed_judge(key, given, chosen, options, compose)
    annotator: DictConfig = OmegaConf.structured(Annotator)
    for own in ("name", "rubric", "scale", "pairs", "together", "form", "report"):
        if own in given:
            _take(annotator, key, own, given[own])
    if annotator.rubric is not None and annotator.rubric not in RUBRICS:
        replace_home(annotator, "rubric", annotator.rubric, f"{key}.rubric", HUB)
    annotator.judge = judge
    return annotator


def composed_judge(
    key: str, given: dict[str, Any], chosen: str, options: Sequence[str], compose: Callable[[str], DictConfig]
) -> DictConfig:
    """Return the judge of an item, with the settings that the item gives.

    Args:
        key: The item's.
        given: The item.
        chosen: The run's option of the group `judge`, which is taken where the item names none.
        options: Names of the options of the group.
        compose: Returns the group as an option composes it.

    Raises:
        UserError: No option has this name, or it does not have a setting.
    """
    option, settings = _asked(key, given, chosen)
    if option not in options:
        raise UserError(f"{key}: judge={option} is not an option", did_you_mean(str(option), options))
    judge = compose(option)
    url, variable = (settings.get(name) for name in ("base_url", "api_key_env"))
    check_endpoint(key, url, variable)  # before anybody shows them
    for setting, value in settings.items():
        _set(judge, key, setting, value)
    expand_homes(judge, f"{key}.")
    return judge


def _asked(key: str, given: dict[str, Any], chosen: str) -> tuple[Any, dict[str, Any]]:
    """Return the option of the group `judge`, and the settings of it that the item gives."""
    judge, settings = given.get("judge"), {str(name): value for name, value in given.items() if name not in OWN}
    if given.get("reward_model") is not None:
        if judge is not None:
            raise UserError(f"{key} has a judge and a reward_model", "give one of them")
        return "reward_model", {"model": given["reward_model"], **settings}
    if isinstance(judge, dict):  # as a recorded config has it
        return judge.get("name"), {**{name: value for name, value in judge.items() if name != "name"}, **settings}
    return chosen if judge is None else judge, settings


def _set(judge: DictConfig, key: str, setting: str, value: Any) -> None:
    kind: Any = OmegaConf.get_type(judge)
    known = [spec.name for spec in fields(kind) if spec.name != "name"]
    if setting not in known:
        raise UserError(f"{key} has no setting '{setting}' (judge={judge.name})", did_you_mean(setting, [*known, *OWN]))
    _take(judge, key, setting, value)


def _take(node: DictConfig, key: str, setting: str, value: Any) -> None:
    try:
        OmegaConf.update(node, setting, value, merge=False)
    except OmegaConfBaseException as error:
        told = misfit(f"judge.{setting}", str(error), f"judge.{setting}={value}")
        with told_of_annotator(key):
            raise told or UserError(f"judge.{setting}={value} is not what it takes", EXAMPLE) from error
