"""What `data=made` is given, composed: its prompts, each of its writers, and its judge.

Prompts are an option of the group `data`, as a source of a mix is; a writer that is a model of this process, but not
the run's own, is an option of the group `model`; the judge is one of the group `judge`, as that of an annotator is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config.annotator_items import composed_judge
from notus_exp.config.endpoint_checks import check_endpoint
from notus_exp.config.homes import expand_homes
from notus_exp.config.made_settings import JUDGE, OF_ENDPOINT, OF_MODEL, Writer
from notus_exp.config.mix_sources import composed_prompts
from notus_exp.errors import UserError, did_you_mean

WRITERS = "data.writers"
EXAMPLE = "write 'data.writers=[{name: own}, {name: hosted, base_url: http://HOST:PORT/v1, model: NAME}]'"
_OF_FOLDER = ("/", ".", "~")
"""Begin what is a folder and no option of the group `model`."""


class GroupOptions(NamedTuple):
    """The options of a group, and what composes the group as one of them does."""

    names: Sequence[str]
    compose: Callable[[str], DictConfig]


def named_writer(number: int) -> str:
    """Return the key of a writer."""
    return f"{WRITERS}.{number}"


def expand_made(made: DictConfig, data: GroupOptions, model: GroupOptions, judge: GroupOptions, chosen: str) -> None:
    """Turn what a composed `data=made` was given into settings with types.

    Args:
        made: The composed group `data`.
        data: Options of that group.
        model: Those of the models.
        judge: Those of the judges.
        chosen: The run's option of the group `judge`, which rates where none is named.

    Raises:
        UserError: What is no mapping, names no option, or sets what its option does not have.
    """
    made.prompts = composed_prompts(made.prompts, data.names, data.compose)
    for source, weights in made.principles.items():  # 1 and 1.0 are one weight, and one key
        for name, weight in weights.items() if isinstance(weights, DictConfig) else ():
            if isinstance(weight, int) and not isinstance(weight, bool):
                made.principles[source][name] = float(weight)
    made.writers = [_writer(number, item, model) for number, item in enumerate(made.writers)]
    if not isinstance(made.judge, DictConfig):
        raise UserError(f"{JUDGE}={made.judge} is no mapping", f"write '{JUDGE}={{judge: openai, model: NAME}}'")
    given: Any = OmegaConf.to_container(made.judge, resolve=True)
    if "name" in given:  # as a recorded config has it
        given = {"judge": given}
    made.judge = composed_judge(JUDGE, given, chosen, judge.names, judge.compose)


def _writer(number: int, item: Any, models: GroupOptions) -> DictConfig:
    key = named_writer(number)
    if not isinstance(item, DictConfig):
        raise UserError(f"{key} is no mapping", EXAMPLE)
    given: Any = OmegaConf.to_container(item, resolve=True)
    if given.get("name") is None:
        raise UserError(f"{key}.name must be given: the table calls the writer by it", EXAMPLE)
    check_endpoint(key, given.get("base_url"), given.get("api_key_env"))  # before anybody shows them
    _check_read(key, given)
    writer: DictConfig = OmegaConf.structured(Writer)
    base = given.pop("base", None)  # as a recorded config has it
    if given.get("base_url") is None and given.get("model") is not None:
        base = given.pop("model")
    for setting, value in given.items():
        _take(writer, key, str(setting), value)
    if base is not None:
        writer.base = _model(key, base, models)
    return writer


def _check_read(key: str, given: dict[str, Any]) -> None:
    """Refuse what a writer is given and does not read."""
    known = [spec.name for spec in fields(Writer) if spec.name != "base"]
    for setting in given:
        if setting not in (*known, "base"):
            raise UserError(f"{key} has no setting '{setting}'", did_you_mean(str(setting), known))
    endpoint, simulated = given.get("base_url") is not None, given.get("simulated") is not None
    if endpoint and simulated:
        raise UserError(f"{key} has a base_url and a skill (simulated)", "give one of them")
    if endpoint and given.get("model") is None:
        raise UserError(f"{key}.model must be given: what the endpoint calls the model", "add model: NAME to that item")
    if simulated and given.get("model") is not None:
        raise UserError(f"{key} has a model and a skill (simulated)", "give one of them")
    recorded = given.get("base") is not None or "base" in given  # which says all, whether it is read or not
    unread = [] if recorded else ([*OF_ENDPOINT] if not endpoint else []) + ([*OF_MODEL] if simulated else [])
    for setting in unread:
        if setting in given:
            who = "a simulated writer" if setting in OF_MODEL else "a writer without a base_url"
            raise UserError(f"{key}.{setting}={given[setting]} is set, and {who} does not read it", "leave it out")


def _take(writer: DictConfig, key: str, setting: str, value: Any) -> None:
    try:
        OmegaConf.update(writer, setting, value, merge=False)
    except OmegaConfBaseException as error:
        hint = f"what a writer takes stands on top of conf/data/made.yaml; {EXAMPLE}"
        raise UserError(f"{key}.{setting}={value} is not what it takes", hint) from error


def _model(key: str, given: Any, models: GroupOptions) -> DictConfig:
    """Return the model of a writer: an option by its name, with settings of it where it is a mapping, or a folder."""
    settings = dict(given) if isinstance(given, dict) else {"name": given}
    name = settings.pop("name", None)
    if isinstance(name, str) and name.startswith(_OF_FOLDER):
        name, settings = "local", {"path": name, **settings}
    if name not in models.names:
        hint = f"{did_you_mean(str(name), models.names)}; a folder is written ./FOLDER"
        raise UserError(f"{key}.model={name} is no option of the group model, and no folder", hint)
    model = models.compose(str(name))
    kind: Any = OmegaConf.get_type(model)
    known = [spec.name for spec in fields(kind) if spec.name != "name"]
    for setting, value in settings.items():
        if setting not in known:
            raise UserError(f"{key}.model has no setting '{setting}'", did_you_mean(str(setting), known))
        try:
            OmegaConf.update(model, setting, value, merge=False)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}.model.{setting}={value} is not what it takes", EXAMPLE) from error
    for setting in known:
        if OmegaConf.is_missing(model, setting):
            hint = f"write model: {{name: {name}, {setting}: VALUE}} in that item; a folder is written model: ./FOLDER"
            raise UserError(f"{key}.model.{setting} must be given for {key}.model={name}", hint)
    expand_homes(model, f"{key}.model.")
    return model
