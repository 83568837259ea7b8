"""The sources of `data=mix`: each is an option of the group `data`, composed as the group would be, and checked.

So are the prompts of `data=made`, which may be a mix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from notus_exp.config.data_settings import Data, FileData, MadeFeedback, Mix, MixSource, Simulated
from notus_exp.config.homes import expand_homes
from notus_exp.config.misfits import misfit
from notus_exp.config.ranges import check
from notus_exp.config.schema import known_settings
from notus_exp.config.told_as import told_as
from notus_exp.errors import UserError, did_you_mean

OWN = ("data", "weight", "corpus")
"""Keys of a source that are no settings of its option."""
OF_PROMPTS = ("data",)
"""Those of the prompts of data made here."""
OF_HUB = ("hub_id", "revision", "hub_split")
"""Settings of a dataset on the hub; the last is read of a folder too."""
_CORPUS = re.compile(r"[\w.-]+", re.ASCII)
_EXAMPLE = "write 'data.sources=[{data: ultrafeedback, path: a.parquet}, {data: rated, path: b.csv}]'"
PROMPTS = "data.prompts"
"""The key of what data made here has answered."""
_EXAMPLE_OF_PROMPTS = "write 'data.prompts={data: prompts, path: prompts.jsonl}'"


def expand(mix: DictConfig, options: Sequence[str], compose: Callable[[str], DictConfig]) -> None:
    """Turn the sources of a composed mix into `MixSource`, and give the mix the aspects of all of them.

    Args:
        mix: The composed group `data`.
        options: Names of the options of the group.
        compose: Returns the group as an option alone composes it.

    Raises:
        UserError: A source that is no mapping, names no option, or sets what its option does not have; two of one name.
    """
    sources = [_source(number, item, options, compose) for number, item in enumerate(mix.sources)]
    corpora = [source.corpus for source in sources]
    for number, corpus in enumerate(corpora):
        if corpus in corpora[:number]:
            first = f"{named(corpora.index(corpus))} has the corpus '{corpus}' too"
            raise UserError(f"{named(number)}: {first}", "give each a name of its own with corpus: NAME")
    mix.sources = sources
    aspects = list(dict.fromkeys(aspect for source in sources for aspect in source.data.aspects))
    if mix.aspects and list(mix.aspects) != aspects:
        hint = f"give aspects to each source, and leave data.aspects out: it is [{', '.join(aspects)}]"
        raise UserError(f"data.aspects={list(mix.aspects)} is set beside those of the sources", hint)
    mix.aspects = aspects


def check_parts(data: Data) -> None:
    """Check the ranges of every group of settings that feedback is read by, and what the sources of a mix say together.

    Raises:
        UserError: Naming the key and the remedy.
    """
    if isinstance(data, Mix):
        _check_mix(data)
    elif isinstance(data, MadeFeedback) and isinstance(data.prompts, Mix):
        with told_of(PROMPTS):
            _check_mix(data.prompts)
    for key, part in parts(data).items():
        with told_of(key):
            check(part, "data.")


def composed_prompts(item: Any, options: Sequence[str], compose: Callable[[str], DictConfig]) -> DictConfig:
    """Return where the prompts of data made here are from, composed as a source of a mix is.

    Args:
        item: As given, a mapping.
        options: Names of the options of the group `data`.
        compose: Returns the group as an option alone composes it.

    Raises:
        UserError: It is no mapping, names no option that has prompts, or sets what that does not have.
    """
    if not isinstance(item, DictConfig):
        raise UserError(f"{PROMPTS}={item} is no mapping", _EXAMPLE_OF_PROMPTS)
    given: Any = OmegaConf.to_container(item, resolve=True)
    others = [option for option in options if option != "made"]
    data = _option(PROMPTS, given, others, compose, OF_PROMPTS)
    if OmegaConf.get_type(data) is Mix:
        with told_of(PROMPTS):
            expand(data, others, compose)
    return data


def _check_mix(mix: Mix) -> None:
    """Check what the sources of a mix say together.

    Raises:
        UserError: Naming the key and the remedy.
    """
    if not mix.sources:
        raise UserError("data=mix has no sources", _EXAMPLE)
    if mix.max_bad_rows:
        raise UserError(f"data.max_bad_rows={mix.max_bad_rows} is of no source", "give max_bad_rows to each source")
    for number, source in enumerate(mix.sources):
        if source.weight is not None and not 0 < source.weight < math.inf:
            hint = "a weight is a share of the prompts, above 0; they need not add up to 1"
            raise UserError(f"{named(number)}.weight={source.weight} is out of range", hint)
    without = [source.corpus for source in mix.sources if source.weight is None]
    if without and len(without) < len(mix.sources):
        hint = "give each source a weight, its share of the prompts, or none to take all of each"
        raise UserError(f"data.sources: {', '.join(without)} has no weight, and others have one", hint)
    if without and mix.prompts is not None:
        raise UserError(f"data.prompts={mix.prompts} is read with weights alone", "give each source a weight")


def parts(data: Data) -> dict[str, Data]:
    """Return the key of each group of settings that feedback is read by, such as `data.sources.0`, and the group."""
    if isinstance(data, MadeFeedback):
        inner = parts(data.prompts).items()
        return {PROMPTS if key == "data" else key.replace("data.", f"{PROMPTS}.", 1): part for key, part in inner}
    if isinstance(data, Mix):
        return {named(number): source.data for number, source in enumerate(data.sources)}
    return {"data": data}


def sources_told(data: Data) -> list[str]:
    """Return a line for each source of a mix: its name, its share, its option and where it lies.

    Of data made here a line says where its prompts are from; of other data there is none.
    """
    if isinstance(data, MadeFeedback):
        own = data.prompts
        prompts = f" ({own.prompts:,} of them)" if isinstance(own, Simulated) else ""
        return [f"prompts: data={own.name}{prompts}{_place(own)}", *sources_told(own)]
    found = []
    for source in data.sources if isinstance(data, Mix) else []:
        own, share = source.data, "all of it" if source.weight is None else f"weight {source.weight:g}"
        found.append(f"source {source.corpus}: {share}, data={own.name}{_place(own)}")
    return found


def _place(data: Data) -> str:
    if not isinstance(data, FileData):
        return ""
    place = f", {data.path}" if data.path else f", {data.hub_id} at {data.revision}"
    return place + (f", split {data.hub_split}" if data.hub_split else "")


def named(number: int) -> str:
    """Return the key of a source."""
    return f"data.sources.{number}"


def told_of(key: str) -> AbstractContextManager[None]:
    """Let an error that speaks of `data.SETTING` speak of a source's where `key` is that of one (see `told_as`)."""
    return nullcontext() if key == "data" else told_as(key, _of_data())


@cache
def _of_data() -> re.Pattern[str]:
    """Return what finds the beginning of a setting of the group in a text."""
    names = sorted({key.split(".")[1] for key in known_settings() if key.startswith("data.")})
    return re.compile(rf"(?<![\w./])data\.(?=(?:{'|'.join(names)})\b)")


def _source(number: int, item: Any, options: Sequence[str], compose: Callable[[str], DictConfig]) -> DictConfig:
    key = named(number)
    if not isinstance(item, DictConfig):
        raise UserError(f"{key} is no mapping", _EXAMPLE)
    given: Any = OmegaConf.to_container(item, resolve=True)
    choices = [option for option in options if option not in ("mix", "made")]
    data = _option(key, given, choices, compose, OWN)
    source: DictConfig = OmegaConf.structured(MixSource)
    try:
        source.weight = given.get("weight")
    except OmegaConfBaseException as error:
        raise UserError(f"{key}.weight={given['weight']} is no number", "write its share, as weight: 0.7") from error
    source.corpus = given["data"] if given.get("corpus") is None else str(given["corpus"])
    if not _CORPUS.fullmatch(source.corpus):
        hint = "use letters, digits, '.', '-' and '_'"
        raise UserError(f"{key}.corpus='{source.corpus}' is no name of a corpus", hint)
    source.data = data
    return source


def _option(
    key: str,
    given: dict[Any, Any],
    choices: Sequence[str],
    compose: Callable[[str], DictConfig],
    own: Sequence[str],
) -> DictConfig:
    """Return the option that a mapping names at `data`, with the settings of it that the mapping gives."""
    name = given.get("data")
    if name is None:
        raise UserError(f"{key} does not say which data it is", f"add data: NAME to it, one of {', '.join(choices)}")
    if name not in choices:
        raise UserError(f"{key}: data={name} is no option of a source", did_you_mean(str(name), choices))
    data = compose(str(name))
    for setting, value in given.items():
        if setting not in own:
            _set(data, key, str(setting), value, own)
    with told_of(key):
        expand_homes(data, "data.")
    _check_place(data, key, given)
    return data


def _set(data: DictConfig, key: str, setting: str, value: Any, own: Sequence[str]) -> None:
    """Set one setting of an option."""
    kind: Any = OmegaConf.get_type(data)
    known = [spec.name for spec in fields(kind) if spec.name != "name"]
    if setting == "name":
        raise UserError(f"{key}.name={value} cannot be set: it names the option", "choose the option with data: NAME")
    if setting not in known:
        raise UserError(f"{key} has no setting '{setting}' (data={data.name})", did_you_mean(setting, [*known, *own]))
    section = is_dataclass(OmegaConf.get_type(data, setting))
    try:
        OmegaConf.update(data, setting, value, merge=section)
    except OmegaConfBaseException as error:
        with told_of(key):
            inner = (error.full_key or setting).removeprefix("data.")
            shown = f"data.{setting}={value}" if inner == setting else ""
            raise misfit(f"data.{inner}", str(error), shown) or UserError(
                f"data.{inner} is no setting of it, or cannot take this value", "--cfg job prints all settings"
            ) from error


def _check_place(data: DictConfig, key: str, given: dict[str, Any]) -> None:
    """Refuse settings of a dataset on the hub beside a local path."""
    kind: Any = OmegaConf.get_type(data)
    if not issubclass(kind, FileData) or not data.path:
        return
    unread = OF_HUB[:2] if Path(data.path).is_dir() else OF_HUB
    for setting in unread:
        if given.get(setting) is not None:
            raise UserError(
                f"{key}.{setting}={given[setting]} is set, but its path={data.path} is read, without it",
                f"leave {setting} out, or leave path out to read the hub",
            )
