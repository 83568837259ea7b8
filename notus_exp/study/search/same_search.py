"""Everything that is checked before a search's first trial, and what is written down about the search for later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.replaced_choices import plain_name
from notus_exp.config.study_settings import Search, Study
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import of_data
from notus_exp.run.pipeline import Run
from notus_exp.stages.settings import to_json
from notus_exp.study.launching.definition import written
from notus_exp.study.launching.jobs import Jobs
from notus_exp.study.launching.served_models import check_served
from notus_exp.study.search.goals import check_measurable, measured_metrics
from notus_exp.study.search.space import Label, Space

DEFINITION, STANDALONE = "definition", "standalone"
"""User attributes of Optuna's study: what must stay the same, and the overrides of every run without its study."""
SPLIT = "evaluation_split"
_EVERY_RUN = "the settings of every run"
_DRAWN_BY = ("sampler", "seed", "pruner")
"""Settings of a search by which its trials were drawn and given up: what the report says of all of them."""


def check_space(jobs: Jobs, search: Search, space: Space, common: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Plan a run for every choice, the others at their first values, and compose one for each end of a range.

    Returns:
        The plan with all first values, then those with others, and that of the next seed where there is one.

    Raises:
        UserError: A value does not fit, its runs would not measure what the search asks for, it changes the data of
            which the prompts of what it asks for are held out, or one served model would answer for several trials; the
            key is named.
    """
    seed = seeds[0]
    for override in common:
        key, _, value = override.lstrip("+~").partition("=")
        if key == SPLIT and value != "validation":
            raise UserError(
                f"'{override}' is given, but a search measures on validation prompts", "leave evaluation_split out"
            )
    first = _probe(jobs, search, space, common, seed, {})
    named = {"a trial of the first values": first}
    for parameter in space.parameters:
        for label in list(parameter.texts) if parameter.texts else [parameter.low, parameter.high]:
            if label != parameter.first or parameter.when:
                other = _probe(jobs, search, space, common, seed, {parameter.key: label})
                _check_same_prompts(search, parameter.key, first, other)
                named[f"a trial of {parameter.key}={label}"] = other
    served = isinstance(first.config.generation, EndpointGeneration)
    for number in seeds[1:] if served else seeds[1:2]:
        named[f"a trial's seed {number}"] = _probe(jobs, search, space, common, number, {})
    check_served(named)
    return list(named.values())


def _check_same_prompts(search: Search, key: str, one: Run, other: Run) -> None:
    """Refuse to search on prompts that are held out of data which a parameter changes."""
    data = {node.key for run in (one, other) for node in run.nodes if node.name == "feedback"}
    metric = next((name for name in measured_metrics(search) if of_data(name)), None)
    if metric is not None and len(data) > 1:
        raise UserError(
            f"study.search.parameters: {key} changes the data, and the prompts of {metric} are held out of them, so its"
            " trials could not be compared",
            "search on a metric whose prompts are its own, such as verifiable/strict, or search for each data apart",
        )


def _probe(
    jobs: Jobs, search: Search, space: Space, common: Sequence[str], seed: int, fixed: Mapping[str, Label]
) -> Run:
    params = space.probe(fixed)
    try:
        run = jobs.plan(trial_overrides(space, params, common, seed, 0))
        check_measurable(search, run.config)
    except UserError as error:
        what = ", ".join(space.overrides({key: params[key] for key in fixed})) or "the first values"
        raise UserError(f"study.search.parameters, {what}: {error.message}", error.hint) from error
    return run


def trial_overrides(
    space: Space, params: Mapping[str, Label], common: Sequence[str], seed: int, number: int
) -> list[str]:
    """Return the overrides of one run of a trial, in the order in which they apply."""
    own = [f"seed={seed}", f"{SPLIT}=validation", f"study.trial={number}"]
    return [*common, *space.overrides(params), *own]


def check_same(known: optuna.Study, study: Study, first: Run, recorded: Mapping[str, Any]) -> None:
    """Write down what a search is; refuse to go on with one that was something else.

    Args:
        known: Optuna's study.
        study: The settings.
        first: A run of it: its id stands for everything that every trial has in common.
        recorded: `search` in study.json, empty before the first command: a search of an earlier version has its sampler
            and pruner only there.

    Raises:
        UserError: Objectives, constraints, parameters, seeds, the common settings, or the sampler, its seed or the
            pruner are others than before.
    """
    search = study.search
    now = {
        "study.search.parameters": search.parameters,
        "study.search.objectives": search.objectives,
        "study.search.constraints": search.constraints,
        "study.seeds": study.seeds,
        "study.search.prune_on": [search.prune_on, search.prune_direction],
        _EVERY_RUN: first.id,
    }
    drawn_by = {f"study.search.{name}": getattr(search, name) for name in _DRAWN_BY}
    now = json.loads(json.dumps(now))
    before = known.user_attrs.get(DEFINITION)
    if before is None:
        known.set_user_attr(DEFINITION, now | drawn_by)
        return
    for name, value in now.items():
        if json.dumps(before.get(name)) != json.dumps(value):
            raise UserError(
                f"the search '{study.name}' was begun with another value of {name}, so its trials cannot be compared",
                "give another study.name=NAME, or the values that it was begun with"
                + (", and the versions of the libraries that train, on each machine" if name == _EVERY_RUN else ""),
            )
    earlier = {f"study.search.{name}": recorded[name] for name in _DRAWN_BY if name in recorded}
    for name, value in drawn_by.items():
        begun = (earlier | before).get(name, value)
        if begun != value:
            raise UserError(
                f"the search '{study.name}' was begun with {name}={begun}, but this command has {name}={value}",
                f"to go on give {name}={begun}; to search by {name}={value} give another study.name=NAME, which reuses"
                " the runs that it draws again",
            )


def standalone(jobs: Jobs, space: Space, common: Sequence[str], seed: int, first: Run) -> list[str] | None:
    """Return the overrides of every run without the study that gave some of them; None if they cannot be told apart.

    A study's file sets more than its section: what it adds to the choices and settings is found by composing a run
    without it, and kept only if that then is the same run.
    """
    own = [override for override in common if not _of_study(override)]
    if len(own) == len([override for override in common if not override.lstrip("+").startswith("study.")]):
        return own
    params = space.probe({})

    def plan(overrides: Sequence[str]) -> Run:
        return jobs.plan([*overrides, *space.overrides(params), f"seed={seed}", f"{SPLIT}=validation"])

    try:
        there = plan(own)
        own += [
            f"{group}=[{choice}]" if group == "evaluation" else f"{group}={plain_name(choice)}"
            for group, choice in first.choices.items()
            if there.choices.get(group) != choice and group not in space.order
        ]
        there = plan(own)
        wanted, found = (dict(_leaves(to_json(run.config))) for run in (first, there))
        own += [
            f"{key}={written(value)}"
            for key, value in wanted.items()
            if found.get(key) != value and not _of_study(key) and key != SPLIT
        ]
        return own if plan(own).id == first.id else None
    except UserError:
        return None


def _of_study(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key == "study" or key.startswith("study.")


def _leaves(content: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in content.items():
        deeper = isinstance(value, Mapping) and value
        found += _leaves(value, f"{path}{key}.") if deeper else [(f"{path}{key}", value)]
    return found
