"""Academic benchmarks under our metric names: the harness's values with its standard errors, and paired differences."""

from __future__ import annotations

import math
from typing import Any

from scipy import stats

from notus_exp.disk.given import usable
from notus_exp.inference.estimates import CONFIDENCE, Estimate, paired_difference

_SAME = 1e-6
"""A metric is a plain mean over questions where that mean is the harness's value within this."""


def usable_results(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Leave out what cannot be computed with: the perplexity of a broken model may be infinite, or a 1 with 300 zeros.

    Args:
        content: Content of a `benchmarks.json`.

    Returns:
        The content without such values (a standard error becomes null), and what was left out, in words.
    """
    lost: list[str] = []
    results: dict[str, dict[str, Any]] = {}
    for task, metrics in content["results"].items():
        for metric, row in metrics.items():
            if not usable(row["value"]):
                lost.append(f"{task}/{metric} is {row['value']:g}")
                continue
            stderr = row["stderr"]
            kept = {**row, "stderr": stderr if stderr is not None and usable(stderr) else None}
            results.setdefault(task, {})[metric] = kept
    questions = {
        task: {metric: values for metric, values in metrics.items() if all(map(usable, values.values()))}
        for task, metrics in content["questions"].items()
    }
    return {**content, "results": results, "questions": questions}, lost


def estimates(policy: dict[str, Any], base: dict[str, Any]) -> dict[str, Estimate]:
    """Return `lm_eval/<task>/<metric>` for the policy, the same after `base/`, and after `difference/` policy - base.

    The interval is the value with the normal quantile times the harness's standard error, NaN where it gives none. The
    difference is paired by question where the metric is a mean over questions, and left out where it is not.

    Args:
        policy: Content of the policy's `benchmarks.json`.
        base: The base model's.
    """
    found: dict[str, Estimate] = {}
    for prefix, content in (("", policy), ("base/", base)):
        for task, metrics in content["results"].items():
            for metric, row in metrics.items():
                found[f"{prefix}lm_eval/{task}/{metric}"] = _estimate(row)
    for task, metrics in policy["results"].items():
        for metric, row in metrics.items():
            ours, theirs = (side["questions"].get(task, {}).get(metric) for side in (policy, base))
            other = base["results"].get(task, {}).get(metric)
            if ours and theirs and other and is_mean(ours, row) and is_mean(theirs, other):
                questions = sorted(ours.keys() & theirs.keys())
                found[f"difference/lm_eval/{task}/{metric}"] = paired_difference(
                    [ours[question] for question in questions], [theirs[question] for question in questions]
                )
    return found


def _estimate(row: dict[str, Any]) -> Estimate:
    if row["stderr"] is None:
        return Estimate(row["value"], math.nan, math.nan, row["n"] or 0)
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * row["stderr"]
    return Estimate(row["value"], row["value"] - reach, row["value"] + reach, row["n"] or 0)


def is_mean(values: dict[str, float], row: dict[str, Any]) -> bool:
    """Say whether a result of the harness is the plain mean of its questions' values."""
    return abs(math.fsum(values.values()) / len(values) - float(row["value"])) <= _SAME
