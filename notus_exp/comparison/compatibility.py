"""May these runs be compared? What must be alike: split, the evaluations' prompts and settings, the judge; the data.

What an arm may choose (curation, recipe, seed, base model) is not looked at. Runs of different split or held-out part
are refused. An evaluation that was done in different ways is refused where the primary metric is its own; else it is
kept apart: its metrics are left out of the comparison, with a warning that names the difference. Data are a part of the
way to an evaluation whose prompts are held out of them, and of no other: arms of different data answer the same prompts
of a benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

import polars as pl

from notus_exp.comparison.other_conditions import Runs, named_run, other_conditions
from notus_exp.contracts.comparison_file import EvaluationWay
from notus_exp.contracts.manifest import read_manifest
from notus_exp.contracts.rounds_of_run import evaluated_feedback
from notus_exp.contracts.run_file import RunFile
from notus_exp.disk.files import JUDGMENTS, MANIFEST
from notus_exp.disk.outputs import artifact, sound_run
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import CATALOGUE, held_out, of_data
from notus_exp.evaluation.kit.description import EvaluationSpec

VALIDATION, TEST = "validation", "test"

HOLDS_OUT = ("seed", "validation", "test")
"""Settings of the split that say which prompts are held out; its folds part those that an arm trains on."""
_ARMS_OWN = ("precision", "endpoint_model")
"""What settings of evaluations hold that belongs to an arm: its recipe's precision and the served policy's name."""
_REMEDY = "compare runs that were evaluated alike: put the key into no arm, and give the study's command again"
_MISSING = object()
_ANSWERED_FIRST = sorted(CATALOGUE.values(), key=lambda spec: not spec.answers)
"""The order in which a comparison tells how its evaluations were done."""

Ways = dict[str, EvaluationWay]
"""Evaluation -> how a run did it."""


class _Whole(TypedDict):
    """What must be alike whatever the metric and the data, of one run."""

    split: Any
    evaluation_split: str


class Protocol(NamedTuple):
    """What all runs have in common.

    Attributes:
        feedback: Key of the feedback that they curate and are scored on; None where they differ in it, and where no run
            is finished.
        evaluation_split: Whose prompts are scored, test or validation; None where no run is finished.
        evaluations: By evaluation its settings and digests, those alike in all runs that have it.
        judge: The judge's settings and the snapshots that it named itself; None where nothing was judged.
        apart: Evaluation -> why its metrics are left out.
        warnings: What a reader must know.
    """

    feedback: str | None
    evaluation_split: str | None
    evaluations: Ways
    judge: dict[str, Any] | None
    apart: dict[str, str]
    warnings: list[str]


def common_protocol(folder: Path, runs: Runs, metric: str) -> Protocol:
    """Return what the runs have in common, or refuse to compare them.

    Args:
        folder: The study's folder.
        runs: The finished runs.
        metric: The primary metric.

    Raises:
        UserError: The split, the held-out part or the way to the primary metric differs between two runs, or the data
            where its prompts are of them.
    """
    if not runs:
        return Protocol(None, None, {}, None, {}, [])
    first = _refuse_other_split(runs)
    ways = {name: _evaluations(folder, run) for name, run in runs.items()}
    other_data = _other_data(runs)
    apart_by_data = _apart_by_data(ways, metric, other_data)  # before the rest: other data have other labellings too
    apart = {**dict(_apart(ways, metric)), **apart_by_data}
    known = {key: way for found in ways.values() for key, way in found.items() if key not in apart}
    evaluations = {spec.name: known[spec.name] for spec in _ANSWERED_FIRST if spec.name in known}
    judge = next((way["judge"] for way in evaluations.values() if "judge" in way), None)
    warnings = [*apart.values(), *other_conditions(folder, runs)]
    feedback = None if other_data else evaluated_feedback(next(iter(runs.values())))
    return Protocol(feedback, first["evaluation_split"], evaluations, judge, apart, warnings)


def planned_difference(planned: Mapping[tuple[str, int], Mapping[str, Mapping[str, Any]]], metric: str) -> str | None:
    """Say, before anything is made, what would keep runs from being compared on a metric; None where nothing would.

    Args:
        planned: (arm, seed) -> name of a node of the run -> its settings.
        metric: The primary metric.
    """
    spec = CATALOGUE.get(metric.partition("/")[0])
    if spec is None:
        return None
    ways = {run: _planned_way(spec, nodes) for run, nodes in planned.items()}
    return _difference({run: {spec.name: way} for run, way in ways.items() if way is not None})


def _planned_way(spec: EvaluationSpec, nodes: Mapping[str, Mapping[str, Any]]) -> EvaluationWay | None:
    return _way(spec, lambda node: _without_arms_own(nodes.get(node, {})))


def check_tuning(folder: Path, tuning: Iterable[tuple[str, str]], metric: str, evaluation_split: str | None) -> None:
    """Refuse to compare on prompts that something was tuned on.

    A comparison on validation prompts passes: its verdict says what they were for.

    Args:
        folder: The study's folder.
        tuning: What was tuned (an arm) and the id of a run that did it.
        metric: The primary metric.
        evaluation_split: Of the comparison.

    Raises:
        UserError: A tuning run was measured on test prompts, or on the fixed prompts of the primary metric, or its
            record cannot be read.
    """
    evaluation = metric.partition("/")[0]
    for arm, run_id in tuning:
        run = sound_run(folder, run_id)
        if "config" not in run:
            continue
        if evaluation_split == TEST and _split_of(run) == TEST:
            raise UserError(
                f"'{arm}' was tuned on test prompts (run {run_id} has evaluation_split=test), so its scores on them"
                " are not those of unseen prompts",
                "tune with evaluation_split=validation and give the study's command again",
            )
        if evaluation not in held_out() and metric in run.get("metrics", {}):
            raise UserError(
                f"'{arm}' was tuned on the prompts of {metric}, which has no validation prompts of its own (run"
                f" {run_id})",
                "tune on a metric of preferences or verifiable, without this evaluation",
            )


def _refuse_other_split(runs: Runs) -> _Whole:
    """Return what must be alike whatever the metric, of the first run and so of all."""
    whole = {name: _whole(name, run) for name, run in runs.items()}
    if difference := _difference(whole):
        raise UserError(f"runs that hold out different prompts are not compared: {difference}", _REMEDY)
    return next(iter(whole.values()))


def _other_data(runs: Runs) -> str | None:
    """Say in what the data of the first run that differs are others than those of the first; None where none does."""
    keys = {name: {"feedback": evaluated_feedback(run)} for name, run in runs.items()}
    settings = {name: {"data": run["config"].get("data")} for name, run in runs.items()}
    for name, key in keys.items():
        if difference := _first_difference(keys, name, key):
            return _first_difference(settings, name, settings[name]) or difference  # a setting says more than a key
    return None


def _apart_by_data(ways: Mapping[tuple[str, int], Ways], metric: str, difference: str | None) -> dict[str, str]:
    """Return evaluation -> why it is kept apart, of those whose prompts are of data that differ between runs.

    Raises:
        UserError: The primary metric is of such an evaluation.
    """
    if difference is None:
        return {}
    if of_data(metric):
        others = ", ".join(name for name, spec in CATALOGUE.items() if not spec.of_data)
        raise UserError(
            f"runs of different data are not compared on {metric}, whose prompts are held out of them: {difference}",
            f"{_REMEDY}; or name a metric of an evaluation with prompts of its own with --metric ({others})",
        )
    measured = {name for found in ways.values() for name in found}
    return {
        name: f"{name} is kept out of this comparison, its prompts being held out of each run's own data: {difference}"
        for name, spec in CATALOGUE.items()
        if spec.of_data and name in measured
    }


def _whole(name: tuple[str, int], run: RunFile) -> _Whole:
    if "feedback" not in run["stages"] or "split" not in run["config"]:
        raise UserError(
            f"the run.json of {named_run(name)} is finished and does not say on which data and split",
            "delete its folder in runs/ and give the study's command again: it makes what is missing",
        )
    split = run["config"]["split"]
    return {"split": {key: split.get(key) for key in HOLDS_OUT}, "evaluation_split": _split_of(run)}


def _split_of(run: RunFile) -> str:
    return str(run["config"].get("evaluation_split", TEST))  # runs from before the setting asked test prompts


def _evaluations(folder: Path, run: RunFile) -> Ways:
    """Return evaluation -> all that decides what its values mean, from the settings that the stages were given."""
    found: Ways = {}
    for spec in _ANSWERED_FIRST:
        way = _way(spec, lambda node: _settings(folder, run, node))
        if way is None:
            continue
        if spec.judged:
            way["judge"]["snapshots"] = _snapshots(folder, run, spec.name)
        if spec.labelled:
            way["labellings"] = run["stages"]["evaluation"]["facts"].get("labellings")
        found[spec.name] = way
    return found


def _way(spec: EvaluationSpec, settings_of: Callable[[str], dict[str, Any]]) -> EvaluationWay | None:
    """Return what settings tell of how an evaluation is done; None where it was not asked for.

    Args:
        spec: The evaluation.
        settings_of: Name of a node -> its settings, without those of the arm; {} where the run has no such node.
    """
    name, settings = spec.name, settings_of("evaluation")
    if settings.get(name) is None:
        return None
    way: EvaluationWay = {
        "settings": settings[name],
        "files": {key: digest for key, digest in settings.get("files", {}).items() if key.startswith(f"{name}.")},
    }
    way |= cast(EvaluationWay, {word: settings_of(of) for word, of in spec.measured_from.items()})
    if version := settings.get("versions", {}).get(name):
        way["version"] = version
    if spec.judged:
        judging = settings_of(f"judgments_{name}")
        way["judge"] = {**judging.get("judge", {}), "files": judging.get("files", {})}
    if spec.labelled:
        way["aspects"] = settings["aspects"]
    return way


def _settings(folder: Path, run: RunFile, node: str) -> dict[str, Any]:
    """Return the settings that a stage was given, without those of the arm."""
    if node not in run["stages"]:
        return {}
    path = artifact(folder, run, node) / MANIFEST
    try:
        settings = read_manifest(path).settings
    except FileNotFoundError as error:
        raise UserError(
            f"run {run['run_id']} is finished, but its artifact {path.parent.name} is gone",
            "delete its folder in runs/ and give the study's command again: it makes what is missing",
        ) from error
    return _without_arms_own(settings)


def _without_arms_own(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _ARMS_OWN}


def _snapshots(folder: Path, run: RunFile, evaluation: str) -> list[str]:
    """Return the snapshots that the judge named itself, for base and policy together."""
    found: set[str] = set()
    for node in (f"judgments_{evaluation}", f"judgments_{evaluation}_base"):
        if node in run["stages"]:
            path = artifact(folder, run, node) / JUDGMENTS
            found |= set(pl.read_parquet(path, columns=["snapshot"], glob=False)["snapshot"].drop_nulls()) - {""}
    return sorted(found)


def _apart(ways: Mapping[tuple[str, int], Ways], metric: str) -> Iterator[tuple[str, str]]:
    """Name the evaluations that differ between runs and why; refuse where it is the primary metric's."""
    for name in (spec.name for spec in _ANSWERED_FIRST):
        having = {run: {name: found[name]} for run, found in ways.items() if name in found}
        reason = _difference(having) or _many_snapshots({run: found[name] for run, found in having.items()})
        if not reason:
            continue
        if metric.startswith(f"{name}/"):
            raise UserError(
                f"{metric} was not measured in one way: {reason}",
                f"{_REMEDY}; or name the metric of another evaluation with --metric",
            )
        yield name, f"{name} was not measured in one way and is kept out of this comparison: {reason}"


def _difference(protocols: Mapping[tuple[str, int], Any]) -> str | None:
    """Say what differs in the first run that differs from the first of all; None where nothing does."""
    said = (_first_difference(protocols, run, protocol) for run, protocol in protocols.items())
    return next(filter(None, said), None)


def _first_difference(protocols: Mapping[tuple[str, int], Any], name: tuple[str, int], protocol: Any) -> str | None:
    """Say what differs from the first run, None where nothing does."""
    first, reference = next(iter(protocols.items()))
    found = next(_differences(reference, protocol, ""), None)
    if found is None:
        return None
    key, one, other = found
    return f"{key} is {_shown(one)} in {named_run(first)} and {_shown(other)} in {named_run(name)}"


def _differences(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted path and both values of each place that differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            below = f"{path}.{key}" if path else str(key)
            yield from _differences(one.get(key, _MISSING), other.get(key, _MISSING), below)
    elif one != other:
        yield path, one, other


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "not set"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _many_snapshots(ways: Mapping[tuple[str, int], EvaluationWay]) -> str | None:
    """Say that a run's verdicts are of several snapshots of the judge, which are as many judges; None where none is."""
    for run, way in ways.items():
        names = way.get("judge", {}).get("snapshots", [])
        if len(names) > 1:
            return f"it was judged by several snapshots of the judge in {named_run(run)}: {', '.join(names)}"
    return None
