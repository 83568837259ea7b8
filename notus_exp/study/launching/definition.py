"""What a study consists of: its arms with their overrides, its seeds and its name, from the config and the command."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from notus_exp.config.commandline import check_arguments, quoted
from notus_exp.config.misfits import decimal_comma
from notus_exp.config.schema import takes
from notus_exp.config.searched_metrics import tested_metric
from notus_exp.config.study_settings import FIXED, Study
from notus_exp.contracts.comparison_file import BASE_MODEL
from notus_exp.contracts.study_file import cell_name
from notus_exp.disk.hashing import digest
from notus_exp.errors import UserError, did_you_mean

NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}")
"""Names of studies: they are folders."""
ALONE = "all"
"""Name of the arm of a study that varies nothing but seeds."""
MEANS = ("until", "output_dir", "calibrate", "tracking", "hardware", "hydra")
"""Keys that change how runs are made and followed, and nothing that they compute."""
LIMITS = ("study.name", "study.seeds", "study.max_hours", "study.max_cost", "study.batch")
"""Settings of a study with which it is still the same study."""


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: Its name in tables and plots.
        overrides: What sets it apart, as on a command line.
        levels: Setting -> value, where it is a cell of a grid.
    """

    name: str
    overrides: list[str]
    levels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """A study that is fully described.

    Attributes:
        settings: Those of the config, with name, seeds and baseline settled.
        kind: arms, grid or search.
        common: The user's overrides of every run.
        arms: In order; none for a search.
        factors: Setting -> values of a grid, else None.
    """

    settings: Study
    kind: str
    common: list[str]
    arms: list[Arm]
    factors: dict[str, list[str]] | None

    @property
    def name(self) -> str:
        """The study's name."""
        assert self.settings.name is not None
        return self.settings.name


def define(settings: Study, overrides: Sequence[Override]) -> Definition:
    """Return the study that a config and a command line describe.

    Args:
        settings: The config's section `study`.
        overrides: The command line, parsed by Hydra: `KEY=A,B` is swept, everything else holds for every run.

    Raises:
        UserError: Nothing or several things are to be varied, or a name, an arm or a seed does not fit the rest.
    """
    swept = {override.get_key_element(): _values(override) for override in overrides if override.is_sweep_override()}
    common = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    only_seeds = [*swept] == ["seed"]
    settings = replace(settings, seeds=_seeds(settings, swept.pop("seed", None), common))
    common = [override for override in common if key_of(override) != "seed"]
    if only_seeds and not (settings.arms or settings.grid or settings.search.parameters):
        settings = replace(settings, arms={ALONE: []})
    grid = _grid(settings, swept)
    kind = _kind(settings, grid)
    if kind == "arms":
        arms = [Arm(name, list(given)) for name, given in settings.arms.items()]
    else:
        arms = _cells(grid) if kind == "grid" else []
    for arm in arms:
        _check_arm(arm, common)
    if settings.name is None:
        same = [override for override in results(common) if key_of(override) not in LIMITS]
        content = [kind, [[arm.name, arm.overrides] for arm in arms], same, str(settings.search.parameters)]
        settings = replace(settings, name=f"{kind}-{digest(content)[:8]}")
    _check_settings(settings, arms)
    if kind == "search":
        metric = tested_metric(settings.search.objectives, settings.metric)
        if metric != settings.metric and any(key_of(override) == "study.metric" for override in common):
            raise UserError(
                f"study.metric={settings.metric} is given, but a search's metric is its objective, {metric}",
                "leave study.metric out, or name it in study.search.objectives",
            )
        settings = replace(settings, metric=metric)
    if settings.baseline is None and arms:
        settings = replace(settings, baseline=arms[0].name)
    return Definition(settings, kind, common, arms, grid if kind == "grid" else None)


def written(value: Any) -> str:
    """Return a value as the right side of an override that Hydra reads back as the same value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)
        return re.sub(r"^(-?\d+)e", r"\1.0e", text)  # YAML takes 5e-07 for a word
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    text = str(value)
    return text if not isinstance(value, str) or _reads_as_itself(text) else quoted(text)


def key_of(override: str) -> str:
    """Return the key that an override sets or takes away."""
    return override.lstrip("+~").partition("=")[0]


def results(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that change what a run computes, and not only how it is run and followed."""
    return [override for override in overrides if _root(key_of(override)) not in MEANS]


def _root(key: str) -> str:
    return re.split(r"[./@]", key.lstrip("+~"))[0]


def _reads_as_itself(text: str) -> bool:
    """Say whether Hydra reads a bare text, alone and in a list, as that very text: as no number, list or reference."""
    parser = OverridesParser.create()
    try:
        alone, listed = parser.parse_override(f"x={text}"), parser.parse_override(f"x=[{text}]")
        values = None if alone.is_sweep_override() else (alone.value(), listed.value())
    except HydraException:
        return False
    return values == (text, [text]) and "${" not in text


def _values(override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        raise UserError(
            f"'{override.input_line}' has no list of values",
            "give values with commas, or let Optuna search in a range: see sweeps/study/beta_search.yaml",
        )
    return list(override.sweep_string_iterator())


def _seeds(settings: Study, swept: list[str] | None, common: Sequence[str]) -> list[int]:
    fixed = [override.partition("=")[2] for override in common if key_of(override) == "seed"]
    given = swept if swept is not None else fixed or None
    if given is not None and "study.seeds" in map(key_of, common):
        raise UserError(f"seed={','.join(given)} and study.seeds are both given", "leave one of them out")
    try:
        seeds = settings.seeds if given is None else [int(seed) for seed in given]
    except ValueError as error:
        raise UserError(f"seed={','.join(given or [])} are not all whole numbers") from error
    if not seeds or len({*seeds}) < len(seeds):
        raise UserError(f"the study's seeds are {seeds}", "give each seed once, such as seed=0,1,2")
    return seeds


def _grid(settings: Study, swept: Mapping[str, list[str]]) -> dict[str, list[str]]:
    grid = {key: [written(value) for value in values] for key, values in settings.grid.items()}
    for key in swept:
        if _root(key) in FIXED:
            listed = ",".join(swept[key])
            meant = f"write '{key}=[{listed}]'" if takes(key, list) else decimal_comma(key, listed)
            if key == "study.seeds":
                meant = f"write seed={listed}"
            raise UserError(
                f"'{key}' is the same in all arms of a study, so it cannot be swept",
                meant or f"write {key}={swept[key][0]}, or one of the others",
            )
        if settings.arms or settings.search.parameters or grid:
            raise UserError(
                f"'{key}' is swept on the command line, but the study names what it varies by itself",
                "leave the sweep out, or leave study=... out",
            )
    grid |= swept
    for key, values in grid.items():
        if len({*values}) < len(values):
            raise UserError(f"{key}={','.join(values)} names a value twice", "give each value once")
        if not values:
            raise UserError(f"study.grid: {key} has no values")
    return grid


def _kind(settings: Study, grid: Mapping[str, Any]) -> str:
    given = {"arms": settings.arms, "grid": grid, "search": settings.search.parameters}
    chosen = [kind for kind, content in given.items() if content]
    if len(chosen) != 1:
        what = "nothing to vary" if not chosen else " and ".join(chosen)
        raise UserError(
            f"the study has {what}: it needs one of arms, grid and search.parameters",
            "choose study=NAME, or vary settings with -m KEY=A,B",
        )
    return chosen[0]


def _cells(grid: Mapping[str, list[str]]) -> list[Arm]:
    cells = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return [Arm(cell_name(levels), [f"{key}={value}" for key, value in levels.items()], levels) for levels in cells]


def _check_arm(arm: Arm, common: Sequence[str]) -> None:
    if not arm.name.strip() or not arm.name.isprintable() or arm.name == BASE_MODEL:
        raise UserError(
            f"study.arms: '{arm.name}' cannot be the name of an arm", "give it a name of its own, on a line"
        )
    given = {key_of(override): override for override in common}
    check_arguments(arm.overrides)
    for override in arm.overrides:
        key = key_of(override)
        if "=" not in override and not override.startswith("~"):
            raise UserError(f"study.arms: '{override}' of arm '{arm.name}' is no override", "write KEY=VALUE")
        if _root(key) in FIXED:
            raise UserError(
                f"arm '{arm.name}' sets '{key}', which is the same in all arms of a study",
                "set study.seeds for seeds; give the others on the command line",
            )
        if key in given:
            raise UserError(
                f"'{given[key]}' is given for every run, but arm '{arm.name}' sets '{override}'",
                f"leave {key} out on one side",
            )


def _check_settings(settings: Study, arms: Sequence[Arm]) -> None:
    name = settings.name or ""
    if not NAME.fullmatch(name):
        raise UserError(f"study.name='{name}' cannot be a folder", "use letters, digits, dots, dashes and underscores")
    if settings.arm is not None or settings.trial is not None:
        raise UserError("study.arm and study.trial are set by the study itself", "leave them out")
    names = [arm.name for arm in arms]
    if settings.baseline is not None and settings.baseline not in names:
        raise UserError(
            f"study.baseline='{settings.baseline}' is no arm of this study", did_you_mean(settings.baseline, names)
        )
    for section, keys in (("study.tune", settings.tune), ("study.search.parameters", settings.search.parameters)):
        for key in keys:
            if _root(key) in FIXED:
                raise UserError(f"{section}: '{key}' is the same in all runs of a study")
    if settings.tune:
        _check_tuning(settings, arms)


def _check_tuning(settings: Study, arms: Sequence[Arm]) -> None:
    if not arms:
        raise UserError("study.tune is for arms that are compared", "put the setting into the search's parameters")
    shared = sorted({*settings.seeds} & {*settings.tuning.seeds})
    if shared or not settings.tuning.seeds:
        raise UserError(
            f"study.tuning.seeds={settings.tuning.seeds} must be seeds of their own, at least one",
            f"the arms are compared with {settings.seeds}",
        )
    for key in settings.tune:
        if not settings.tuning.values.get(key):
            raise UserError(
                f"study.tune asks for '{key}', but it has no candidates",
                f"add 'study.tuning.values={{{key}:[...]}}'; known: {', '.join(settings.tuning.values)}",
            )
        for arm in arms:
            if key in map(key_of, arm.overrides):
                raise UserError(f"arm '{arm.name}' sets '{key}', which study.tune tunes", "leave it out on one side")
