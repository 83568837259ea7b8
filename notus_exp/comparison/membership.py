"""Is a run of the arm that study.json names it for? Its own config decides, whatever study.json says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from notus_exp.config.replaced_choices import plain_name
from notus_exp.contracts.run_file import RunFile, RunsBySeed
from notus_exp.contracts.study_file import ArmRecord, StudyFile, cell_name
from notus_exp.disk.outputs import STUDY_JSON
from notus_exp.errors import UserError

_UNKNOWN = object()
_REMEDY = f"give the study's command again: it writes {STUDY_JSON} anew"


def check_members(study: StudyFile, runs: RunsBySeed) -> None:
    """Refuse a study that counts a run as another arm's or seed's than the run's own config says.

    Looked at are the settings by which the arms differ, in their overrides and in a grid's levels. What all arms have
    tells none from another, and a run may have been made by another study, on other hardware, with its evaluations in
    another order. An arm of a grid whose levels are those of another one's name is refused too.

    Args:
        study: Content of study.json.
        runs: Arm -> seed -> run.json of the finished runs.

    Raises:
        UserError: Naming the run and the setting that contradicts, or the arm.
    """
    _check_names(study)
    for settings in (_overrides, _levels):
        _check_runs(study, runs, {arm: _settings(settings(spec)) for arm, spec in study["arms"].items()})


def _check_names(study: StudyFile) -> None:
    """Refuse an arm of a grid that has the levels of another: its name follows from them."""
    if study["kind"] != "grid":
        return
    for arm, spec in study["arms"].items():
        name = cell_name(spec["levels"])
        if name != arm and name in study["arms"]:
            raise UserError(f"{STUDY_JSON} gives arm '{arm}' the levels of arm '{name}'", _REMEDY)


def _check_runs(study: StudyFile, runs: RunsBySeed, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a run whose config contradicts what sets its arm apart; `arms` are arm -> setting -> value."""
    for arm, by_seed in runs.items():
        spec = study["arms"][arm]
        own = {key: value for key, value in arms[arm].items() if not all(_same(key, value, it) for it in arms.values())}
        for seed, run in by_seed.items():
            found = next(_contradictions(own, seed, run), None)
            if found is not None:
                key, wanted, has = found
                raise UserError(
                    f"{STUDY_JSON} names run {spec['runs'][str(seed)]} for arm '{arm}', seed {seed}, whose {key} is"
                    f" {wanted}, but that run was made with {key}={has}",
                    _REMEDY,
                )


def _overrides(spec: ArmRecord) -> list[str]:
    return [*spec["overrides"], *(f"{key}={value}" for key, value in spec["tuned"].items())]


def _levels(spec: ArmRecord) -> list[str]:
    return [f"{key}={value}" for key, value in spec["levels"].items()]


def _same(key: str, value: Any, others: Mapping[str, Any]) -> bool:
    return key in others and _alike(value, others[key])


def _contradictions(settings: Mapping[str, Any], seed: int, run: RunFile) -> Iterator[tuple[str, str, str]]:
    """Yield key, the arm's value and the run's of each setting in which they differ."""
    if run.get("seed", seed) != seed:
        yield "seed", str(seed), str(run["seed"])
    choices: Mapping[str, str] = run.get("choices", {})
    for key, wanted in settings.items():
        if key in choices:
            listed = list(map(str, wanted)) if isinstance(wanted, list) else [str(wanted)]
            if {*listed} != {*plain_name(choices[key]).split(",")}:
                yield key, ",".join(listed), choices[key]
            continue
        has = _at(run["config"], key)
        if has is not _UNKNOWN and not _alike(wanted, has):
            yield key, str(wanted), str(has)


def _settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Return key -> value of the overrides that set a plain value, the last of a key being the one that holds."""
    parser = OverridesParser.create()
    found: dict[str, Any] = {}
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:  # what cannot be read here cannot contradict
            continue
        key = override.key_or_group
        found.pop(key, None)
        if override.is_delete() or override.is_sweep_override() or "${" in text:
            continue
        found[key] = override.value()
    return found


def _at(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key; `_UNKNOWN` where the config has no such key, or shows it struck out."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _UNKNOWN
        value = value[part]
    return _UNKNOWN if "***" in str(value) else value


def _alike(wanted: Any, has: Any) -> bool:
    if isinstance(wanted, list) and isinstance(has, list):
        return len(wanted) == len(has) and all(itertools.starmap(_alike, zip(wanted, has, strict=True)))
    if isinstance(wanted, Mapping) and isinstance(has, Mapping):  # what it does not name has its default
        return all(key in has and _alike(value, has[key]) for key, value in wanted.items())
    if isinstance(wanted, bool) or isinstance(has, bool) or wanted is None or has is None:
        return wanted is has or str(wanted).lower() == str(has).lower()
    try:
        return float(wanted) == float(has)
    except (TypeError, ValueError):
        pass
    one, other = str(wanted), str(has)
    if "/" in one or one.startswith("~"):  # a path may have been made absolute
        return PurePath(one).name == PurePath(other).name
    return one == other
