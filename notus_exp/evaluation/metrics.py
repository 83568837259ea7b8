"""What is known of a metric by its name, and the names that a run will report. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from notus_exp.config.evaluation_settings import Evaluation
from notus_exp.config.schema import Config
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import CATALOGUE, chosen, in_reading_order
from notus_exp.evaluation.kit.description import EvaluationSpec, Metric

UNDESCRIBED = Metric("", direction=None)
"""Stands for a metric that no evaluation names, such as one of a run made by another version."""


def metric_of(name: str) -> Metric:
    """Return the description of a metric, or of the family that it belongs to; `UNDESCRIBED` where there is none.

    Args:
        name: Such as `verifiable/strict` or `preferences/accuracy/average`; the same behind `base/`.
    """
    evaluation, _, rest = name.removeprefix("base/").partition("/")
    metrics = CATALOGUE[evaluation].metrics if evaluation in CATALOGUE else ()
    exact = next((metric for metric in metrics if metric.name == rest and not metric.is_family), None)
    families = (metric for metric in metrics if metric.is_family and rest.startswith(metric.name))
    return exact or max(families, key=lambda metric: len(metric.name), default=UNDESCRIBED)


def width_of(metric: str, limit: float | None = None) -> float | None:
    """Return how far two values of a metric can lie apart, as far as its scale goes; None where it has none.

    Args:
        metric: Its name.
        limit: Of `limit_of`, for a metric that a setting bounds.
    """
    found = metric_of(metric)
    ends = found.span or found.scale
    return limit if ends is None else ends[1] - ends[0]


def limit_of(metric: str, evaluations: Iterable[Evaluation | Mapping[str, Any]]) -> float | None:
    """Return the largest value that a setting leaves to a metric; None where none bounds it, or none is known.

    Args:
        metric: Its name.
        evaluations: The setting `evaluation` of each run, or what a run.json says of it.
    """
    evaluation, setting = metric.partition("/")[0], metric_of(metric).ends_at
    if setting is None:
        return None
    values = [_setting(_setting(one, evaluation), setting) for one in evaluations]
    return max(values) if values and all(isinstance(value, int | float) for value in values) else None


def _setting(settings: Any, name: str) -> Any:
    return settings.get(name) if isinstance(settings, Mapping) else getattr(settings, name, None)


def have_one_scale(metric: str, other: str) -> bool:
    """Tell whether a difference means as much in the one metric as in the other: both have one unit and one scale."""
    if metric == other:
        return True
    one, two = metric_of(metric), metric_of(other)
    if UNDESCRIBED in (one, two):
        return False
    return (one.unit, width_of(metric), one.ends_at) == (two.unit, width_of(other), two.ends_at)


def check_margin(metric: str, margin: float, key: str, limit: float | None = None) -> None:
    """Refuse a margin within which all values of a metric lie.

    Args:
        metric: The metric that it is of.
        margin: Difference that would not matter, in the metric's unit.
        key: How it was given: `study.margin` or `--margin`.
        limit: As in `width_of`.

    Raises:
        UserError: No two values lie further apart than the margin, so that any two models would be equivalent.
    """
    width = width_of(metric, limit)
    if width is not None and margin >= width:
        raise UserError(
            f"{key}={margin:g} covers all that {metric} can differ by, {width:g}: any two models would be equivalent",
            f"name the largest difference that would not matter, such as {width / 20:g}",
        )


def headlines(names: Iterable[str], *, open_families: bool = True) -> list[str]:
    """Return those metrics of `names` that are shown first, in reading order.

    Args:
        names: Metrics, without `base/` and `difference/`.
        open_families: Also the metrics of which only their maker knows how many there are (the tasks of `lm_eval`).
    """
    known = list(dict.fromkeys(names))
    found: list[str] = []
    for spec in in_reading_order():
        for metric in spec.metrics:
            found += _headlines(f"{spec.name}/{metric.name}", metric, known, open_families)
    return found


def named_headlines() -> list[str]:
    """Return all metrics that are shown first and whose names are known without a run, in reading order."""
    wanted = [
        f"{spec.name}/{metric.name}{member}"
        for spec in CATALOGUE.values()
        for metric in spec.metrics
        for member in (metric.headline if isinstance(metric.headline, tuple) else [""])
    ]
    return headlines(wanted, open_families=False)


def known_metrics(config: Config) -> list[str]:
    """Return the names of the policy's metrics that evaluation will report, sorted.

    They are those without `base/` and `difference/`. A name that ends in `/` stands for all that begin so: which there
    are is only known from a file of questions, or from the tasks themselves. A metric that the data turns out not
    to have (no score under a labelling, too many failed verdicts) is not reported after all.
    """
    return sorted(
        f"{spec.name}/{name}"
        for spec in chosen(config.evaluation)
        for metric in spec.metrics
        for name in _expected(spec, metric, config)
    )


def is_known(name: str, known: Sequence[str]) -> bool:
    """Tell whether a metric is among those of `known_metrics`, or begins like one of them that ends in `/`."""
    return any(name.startswith(one) and name != one if one.endswith("/") else name == one for one in known)


def without_score(evaluation: Evaluation, metrics: Mapping[str, MeasuredValue], notes: Sequence[str]) -> dict[str, str]:
    """Return the chosen evaluations that have no score, each with the reason.

    A score is a value of one of the metrics that lead an evaluation; where it reports none of these, of any metric.

    Args:
        evaluation: What was asked for.
        metrics: What was reported, by name.
        notes: What the measuring said.
    """
    found = {}
    for spec in chosen(evaluation):
        own = {name: value for name, value in metrics.items() if name.startswith(f"{spec.name}/")}
        leading = [own[name] for name in (f"{spec.name}/{lead}" for lead in spec.leads) if name in own]
        if all(one["value"] is None for one in leading or own.values()):
            told = (note for note in notes if note.startswith(spec.name))
            found[spec.name] = next(told, f"{spec.name} has no value on any of its prompts")
    return found


def _headlines(name: str, metric: Metric, known: Sequence[str], open_families: bool) -> list[str]:
    if not metric.headline:
        return []
    if isinstance(metric.headline, tuple):
        return [name + member for member in metric.headline if name + member in known]
    if metric.is_family:
        return [one for one in known if one.startswith(name) and one != name] if open_families else []
    return [name] if name in known else []


def _expected(spec: EvaluationSpec, metric: Metric, config: Config) -> list[str]:
    if metric.needs and not getattr(getattr(config.evaluation, spec.name), metric.needs):
        return []
    members = spec.members(config, metric.name) if metric.is_family else None
    return [metric.name] if members is None else [metric.name + member for member in members]
