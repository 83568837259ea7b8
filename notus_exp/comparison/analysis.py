"""A study's comparison: from the runs on disk to estimates, contrasts and a verdict. The same runs give the same bytes.

The primary family is every other arm against the baseline in the primary metric; Holm's p decides there. All else is
exploratory: other metrics, contrasts with the untuned model, head-to-head strengths, effects of single factors. Where
metric, baseline or margin are not those that the study named before its runs, all is.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

from notus_exp.comparison.added_later import after_results
from notus_exp.comparison.aligned import Measured
from notus_exp.comparison.arm_curations import curations
from notus_exp.comparison.cautions import ONE_SEED
from notus_exp.comparison.compatibility import Protocol, check_tuning, common_protocol
from notus_exp.comparison.contrasts import (
    Contrast,
    contrast,
    estimate_json,
    estimate_of,
    exploratory_json,
    family_json,
    uneven_prompts,
)
from notus_exp.comparison.exploration import factor_effects, strengths, trained_by_evaluated
from notus_exp.comparison.per_prompt import on_shared_prompts, run_values
from notus_exp.comparison.reach import Reach, reach_of
from notus_exp.comparison.request import Request, ask, tuning_runs
from notus_exp.comparison.trained_pairs import unlike_pairs
from notus_exp.comparison.words import kept, study_words
from notus_exp.config.doubts import margin_doubts
from notus_exp.contracts.comparison_file import (
    BASE_MODEL,
    FORMAT,
    ComparedArm,
    ComparedStudy,
    ComparisonFile,
    ContrastRow,
    EstimateRow,
)
from notus_exp.contracts.run_file import RunEstimate
from notus_exp.disk.outputs import read_study
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import headlines, metric_of, width_of


class _Parts(NamedTuple):
    """What the sections of a comparison are made from."""

    asked: Request
    measured: Measured
    protocol: Protocol
    metrics: list[str]
    known_by_run: list[str]


def analyse(
    folder: Path, *, baseline: str | None = None, metric: str | None = None, margin: float | None = None
) -> ComparisonFile:
    """Return the comparison of a study's arms, as JSON's types with null for what the data cannot tell.

    Args:
        folder: outputs/studies/<name>.
        baseline: Arm that the others are compared with; None: the study's.
        metric: Primary metric; None: the study's.
        margin: Difference that would not matter, in the unit of the metric; None: the study's.

    Raises:
        UserError: The folder is no study, an arm or metric is unknown, or the runs may not be compared.
    """
    # A study.json that was changed is refused too, after what it says wrongly of its runs was named.
    asked = ask(folder, read_study(folder, check_seal=False), baseline=baseline, metric=metric, margin=margin)
    read_study(folder)
    parts = _parts(folder, asked)
    contrasts = _contrasts(parts)
    of_primary = [row for row in contrasts if row["metric"] == parts.asked.metric]
    about = _about(parts)
    seeds = [len(by_seed) for by_seed in parts.asked.runs.values() if by_seed]
    missing = sum(len(reasons) for reasons in parts.asked.failed.values())
    effects, unfit = factor_effects(parts.asked, parts.measured)
    labelled = None if "preferences" in parts.protocol.apart else trained_by_evaluated(parts.measured)
    comparison: ComparisonFile = {
        "format": FORMAT,
        "study": about,
        "protocol": {
            "feedback": parts.protocol.feedback,
            "evaluations": parts.protocol.evaluations,
            "judge": parts.protocol.judge,
        },
        "arms": [_arm(parts, arm) for arm in parts.asked.runs],
        "base": {"metrics": _base(parts)},
        "contrasts": contrasts,
        "effects": effects,
        "bradley_terry": strengths(parts.asked, parts.measured),
        "trained_by_evaluated": labelled,
        "curations": curations(folder, asked.runs, asked.baseline),
        "verdict": study_words(about, of_primary, seeds=seeds, missing=missing),
        "warnings": [*_warnings(parts, seeds), *unfit],
    }
    return cast(ComparisonFile, _plain(comparison))


def _parts(folder: Path, asked: Request) -> _Parts:
    finished = {(arm, seed): run for arm, by_seed in asked.runs.items() for seed, run in by_seed.items()}
    protocol = common_protocol(folder, finished, asked.metric)
    check_tuning(folder, tuning_runs(asked.study), asked.metric, protocol.evaluation_split)
    values = {
        arm: {seed: run_values(folder, run) for seed, run in by_seed.items()} for arm, by_seed in asked.runs.items()
    }
    if finished and protocol.feedback is None:
        values, notes = on_shared_prompts(values)
        protocol = protocol._replace(warnings=[*protocol.warnings, *notes])
    measured = Measured(values)
    by_prompt = [name for name in measured.metrics() if name.partition("/")[0] not in protocol.apart]
    if finished and asked.metric not in by_prompt:
        raise UserError(
            f"{asked.metric} has no value by prompt, so its differences cannot be tested",
            f"name one of these with --metric: {', '.join(headlines(by_prompt, open_families=False))}",
        )
    reported = dict.fromkeys(name for run in finished.values() for name in run["metrics"])
    metrics = [asked.metric, *(name for name in headlines(by_prompt) if name != asked.metric)] if finished else []
    known_by_run = [name for name in headlines(reported) if name not in by_prompt]
    known_by_run = [name for name in known_by_run if name.partition("/")[0] not in protocol.apart]
    return _Parts(asked, measured, protocol, metrics, known_by_run)


def _about(parts: _Parts) -> ComparedStudy:
    asked = parts.asked
    return {
        "name": asked.study["name"],
        "kind": asked.study["kind"],
        "metric": asked.metric,
        "baseline": asked.baseline,
        "margin": asked.margin,
        "seeds": asked.study["seeds"],
        "evaluation_split": parts.protocol.evaluation_split,
        "chosen_afterwards": asked.afterwards,
        "after_results": after_results(asked.study),
    }


def _arm(parts: _Parts, arm: str) -> ComparedArm:
    asked = parts.asked
    spec = asked.study["arms"][arm]
    metrics: dict[str, EstimateRow] = {}
    for name in parts.metrics:
        table = parts.measured.table(name, arm, parts.measured.seeds(name, arm))
        metrics[name] = estimate_json(estimate_of(table, span=metric_of(name).bounds))
    for name in parts.known_by_run:
        metrics[name] = _by_run([run["metrics"][name] for run in asked.runs[arm].values() if name in run["metrics"]])
    return {
        "arm": arm,
        "overrides": spec["overrides"],
        "levels": spec["levels"],
        "tuned": spec["tuned"],
        "seeds": list(asked.runs[arm]),
        "failed": {str(seed): reason for seed, reason in asked.failed[arm].items()},
        "runs": spec["runs"],
        "metrics": metrics,
    }


def _by_run(estimates: list[RunEstimate]) -> EstimateRow:
    """Return the mean over seeds of a metric without values by prompt, which tells no interval over prompts."""
    known = [estimate["value"] for estimate in estimates if estimate["value"] is not None]
    return {
        "value": fmean(known) if known else None,
        "low": None,
        "high": None,
        "prompts": 0,
        "seeds": len(known),
        "left_out": 0,
        "components": {"prompt": None, "seed": None, "residual": None},
    }


def _base(parts: _Parts) -> dict[str, EstimateRow]:
    """Return the untuned model's estimates; none where the arms start from different ones."""
    if len(_base_models(parts)) > 1:
        return {}
    found: dict[str, EstimateRow] = {}
    for name in parts.metrics:
        table, constant = parts.measured.base(name)[0], metric_of(name).by_construction
        if table.size:
            found[name] = estimate_json(estimate_of(table, span=metric_of(name).bounds))
            if constant is not None:
                found[name] |= {"value": constant, "low": constant, "high": constant}
    return found


def _contrasts(parts: _Parts) -> list[ContrastRow]:
    """Return the family of the primary metric and after it the exploratory contrasts, metric by metric."""
    asked = parts.asked
    others = [arm for arm in asked.runs if arm != asked.baseline]
    rows: list[ContrastRow] = []
    for name in parts.metrics:
        reach = _reach(parts, name)
        family = [_of_arms(parts, name, arm, reach) for arm in others]
        if name == asked.metric:
            rows += family_json(family, metric_of(name), planned=not asked.afterwards)
        else:
            rows += [exploratory_json(found, metric_of(name)) for found in family if found.estimate.seeds]
        reach = _reach(parts, name, base=True)
        beside = [_of_base(parts, name, arm, reach) for arm in asked.runs]
        rows += [exploratory_json(found, metric_of(name)) for found in beside if found is not None]
    return rows


def _reach(parts: _Parts, metric: str, *, base: bool = False) -> Reach:
    """Return how far two arms, or an arm and the base model, may lie apart on a prompt."""
    measured, known = parts.measured, metric_of(metric)
    tables = [measured.table(metric, arm, measured.seeds(metric, arm)) for arm in parts.asked.runs]
    against = known.by_construction if base else None
    if base and against is None:
        tables.append(measured.base(metric)[0])
    return reach_of(known, tables, most=measured.most(metric), against=against)


def _of_arms(parts: _Parts, metric: str, arm: str, reach: Reach) -> Contrast:
    """Contrast an arm with the baseline on the seeds that both have."""
    baseline = parts.asked.baseline
    seeds = parts.measured.seeds(metric, arm, baseline)
    values, others = parts.measured.table(metric, arm, seeds), parts.measured.table(metric, baseline, seeds)
    return contrast(
        values - others,
        metric,
        arm,
        baseline,
        margins=_margins(parts, metric),
        span=metric_of(metric).difference_span(),
        reach=reach,
        uneven=uneven_prompts(values, others),
    )


def _of_base(parts: _Parts, metric: str, arm: str, reach: Reach) -> Contrast | None:
    """Contrast an arm with the untuned model that its own runs measured; None where they did not."""
    seeds = parts.measured.seeds(metric, arm)
    values, others = parts.measured.table(metric, arm, seeds), parts.measured.table(metric, arm, seeds, base=True)
    found = contrast(
        values - others,
        metric,
        arm,
        BASE_MODEL,
        margins=_margins(parts, metric),
        span=metric_of(metric).difference_span(base=True),
        reach=reach,
        uneven=uneven_prompts(values, others),
    )
    return found if found.estimate.prompts and found.estimate.seeds else None


def _margins(parts: _Parts, metric: str) -> list[float]:
    margin = parts.asked.margin
    return [margin] if margin is not None and metric == parts.asked.metric else []


def _warnings(parts: _Parts, seeds: list[int]) -> list[str]:
    asked = parts.asked
    found = [
        f"arm '{arm}', seed {seed} has no result: {reason}"
        for arm, reasons in asked.failed.items()
        for seed, reason in reasons.items()
    ]
    found += [
        f"arm '{arm}', seed {seed} has no {asked.metric}: {run['unscored'][evaluation]}"
        for evaluation in [asked.metric.partition("/")[0]]
        for arm, by_seed in asked.runs.items()
        for seed, run in by_seed.items()
        if evaluation in run.get("unscored", {})
    ]
    if seeds and min(seeds) == 1:
        found.append(ONE_SEED)
    if asked.margin is None and (planned := asked.study["margin"]) is not None:
        found.append(
            f"the study's margin of {planned:g} is of {asked.study['metric']}, and {asked.metric} has another unit or"
            " scale: no margin is used (--margin names one)"
        )
    width = width_of(asked.metric, asked.limit)
    found += margin_doubts(asked.margin, asked.metric, width)
    found += _beyond_what_was_seen(parts) if width is None else []
    found += [f"the {name} was chosen after the runs were made" for name in asked.afterwards]
    found += parts.protocol.warnings
    found += unlike_pairs(asked.runs)
    if len(_base_models(parts)) > 1:
        found.append("the arms start from different base models: each is contrasted with its own")
    else:
        moved = [name for name in parts.metrics if not parts.measured.base(name)[1]]
        found += [f"the runs do not agree on the base model's {name}: its mean is shown" for name in moved]
    shown = [*parts.metrics, *parts.known_by_run]
    found += [f"{name}: {caution}" for name in shown if (caution := metric_of(name).caution)]
    if parts.known_by_run:
        listed = ", ".join(parts.known_by_run)
        found.append(f"no value by prompt, so only a mean over seeds and no contrast: {listed}")
    return found


def _beyond_what_was_seen(parts: _Parts) -> list[str]:
    """Ask about a margin that no two of the compared values lie as far apart as, where no scale says what is large."""
    margin, metric = parts.asked.margin, parts.asked.metric
    reach = _reach(parts, metric) if parts.metrics else Reach()
    ends = reach.known or reach.seen
    if margin is None or ends is None or margin <= ends[1]:
        return []
    return [
        f"the margin of {margin:g} is more than any two prompts lie apart in {metric} here ({ends[1]:.3g}), and less is"
        " called equivalent: is it meant?"
    ]


def _base_models(parts: _Parts) -> set[str]:
    runs = (run for by_seed in parts.asked.runs.values() for run in by_seed.values())
    bases = (run["stages"].get("sft") or run["stages"].get("base_model") for run in runs)
    return {base["key"] for base in bases if base}


def _plain(value: Any) -> Any:
    """Return JSON's types: keys as text, numbers to `words.DIGITS`, NaN and infinities as null."""
    if isinstance(value, float):
        return kept(value) if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
