"""What a comparison shows, in plain words: one contrast, and a whole study in one paragraph."""

from __future__ import annotations

import math
from collections.abc import Sequence

from notus_exp.comparison.cautions import arms_by_caution, of_seeds
from notus_exp.contracts.comparison_file import ALIKE, BASE_MODEL, HIGHER, LOWER, UNKNOWN, ComparedStudy, ContrastRow
from notus_exp.evaluation.kit.description import Metric
from notus_exp.evaluation.metrics import UNDESCRIBED
from notus_exp.inference.crossed import CrossedEstimate
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.multiplicity import Adjusted
from notus_exp.inference.paired import Equivalence, Interval
from notus_exp.reporting.tables import digits_that_tell

ON_VALIDATION = "These are validation prompts, which are there for tuning: what is true of unseen prompts, test tells"
AGREE, DIFFER = "agree on every prompt", "differ alike on every prompt"
"""What can be said of a contrast without any spread, which no test can judge."""
DIGITS = 12
"""Significant digits of comparison.json: what differs beyond them is the order of a sum."""


def kept(number: float) -> float:
    """Return a number as comparison.json keeps it, so that words and tables round it alike."""
    return float(f"{number:.{DIGITS}g}")


def verdict_of(estimate: CrossedEstimate, adjusted: Adjusted | None = None) -> str:
    """Return which of the four things can be said: by Holm's p where the contrast is of a family, else by its own."""
    p = adjusted.holm if adjusted else estimate.p
    if math.isnan(p):
        return UNKNOWN
    if p >= 1 - CONFIDENCE:
        return ALIKE
    return HIGHER if estimate.value > 0 else LOWER


def contrast_words(
    estimate: CrossedEstimate,
    tests: Sequence[Equivalence] = (),
    *,
    metric: Metric = UNDESCRIBED,
    adjusted: Adjusted | None = None,
    interval: Interval | None = None,
    family: int = 1,
) -> str:
    """Say how far apart two models are, how sure that is, and within which margins they are equivalent.

    Args:
        estimate: Of the difference.
        tests: Of equivalence, for the margins of interest.
        metric: Of the values: its unit and how many digits are said.
        adjusted: p of the contrast among its family; None where it is exploratory.
        interval: At the level of Holm's step, likewise.
        family: Contrasts of the family.
    """
    verdict = verdict_of(estimate, adjusted)
    if verdict == UNKNOWN and estimate.seeds and estimate.prompts > 1:
        return _same_everywhere_words(estimate, metric)
    if verdict == UNKNOWN:
        return f"{UNKNOWN}: {_why_unknown(estimate)}"
    shape = _shape((estimate.value, estimate.low, estimate.high), metric)
    said = f"{_signed(estimate.value, metric, shape)}, 95 % {_ends(Interval(estimate.low, estimate.high), shape)}"
    if adjusted and family > 1 and estimate.p < 1 - CONFIDENCE:
        said += f"; p {p_words(estimate.p)} alone, among {family} contrasts {p_words(adjusted.holm)} by Holm"
        said += f" ({_ends(interval, shape)})" if interval else ""
        said += f" and {p_words(adjusted.benjamini_hochberg)} by Benjamini-Hochberg"
    if verdict != ALIKE and not any(test.equivalent for test in tests):
        return f"{verdict} ({said})"
    return f"{verdict} ({said}){_equivalence_words(tests, metric.unit)}"


def p_words(p: float) -> str:
    """Return a p with two digits that count."""
    return "unknown" if math.isnan(p) else "below 0.0001" if p < 0.0001 else f"{p:.2g}"


def study_words(study: ComparedStudy, contrasts: Sequence[ContrastRow], *, seeds: Sequence[int], missing: int) -> str:
    """Return the verdict on a study: one paragraph.

    Args:
        study: The comparison's `study`, with `chosen_afterwards`.
        contrasts: Of the primary metric, as in comparison.json.
        seeds: How many seeds each arm has, of those that have any.
        missing: Runs without a result.
    """
    family = [row for row in contrasts if row["reference"] == study["baseline"]]
    if not seeds:
        return "No run is finished, so there is nothing to compare."
    said = [_family_words(study, family)]
    beside = [row for row in contrasts if row["reference"] == BASE_MODEL]
    if beside:
        each = ", ".join(f"'{row['arm']}' {said_verdict(row)}" for row in beside)
        said.append(f"Against the untuned base model (exploratory): {each}")
    if any(row["verdict"] == ALIKE and not (row["equivalence"] and row["equivalence"]["equivalent"]) for row in family):
        said.append("Not distinguishable does not mean equal: it means that these prompts and seeds do not tell")
    fewest = min([*seeds, *(row["seeds"] for row in family if row["seeds"])])
    of_all = of_seeds(fewest, max(sum(not math.isnan(row["p"]) for row in family if row["p"] is not None), 1))
    said += of_all
    for one, arms in arms_by_caution(family).items():
        said += [] if one in of_all else [f"{', '.join(map(repr, arms))}: {one}"]
    if study["evaluation_split"] == "validation":
        said.append(ON_VALIDATION)
    if study["chosen_afterwards"]:
        chosen = " and ".join(study["chosen_afterwards"])
        said.append(f"Chosen after the runs were made: {chosen}; what rests on that choice is exploratory")
    said += study.get("after_results", [])
    if missing:
        runs = "1 run has" if missing == 1 else f"{missing} runs have"
        said.append(f"{runs} no result; arms are compared on the seeds that they share")
    return ". ".join(said) + "."


def _family_words(study: ComparedStudy, family: Sequence[ContrastRow]) -> str:
    metric, baseline = study["metric"], study["baseline"]
    if not family:
        return f"'{baseline}' is the only arm, so there is no contrast in {metric}"
    prompts = sorted({row["prompts"] for row in family if row["seeds"]})
    seeds = sorted({row["seeds"] for row in family if row["seeds"]})
    each = "; ".join(f"'{row['arm']}'{':' if row['verdict'] == UNKNOWN else ' is'} {row['words']}" for row in family)
    if not seeds:
        return f"In {metric}, nothing can be compared with the baseline '{baseline}': {each}"
    split = study["evaluation_split"]
    return (
        f"In {metric}, on {_range(prompts)} {split} prompts with {_range(seeds)} seed{'s' * (seeds[-1] != 1)}, against"
        f" the baseline '{baseline}': {each}"
    )


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def said_verdict(row: ContrastRow) -> str:
    """Return the verdict of a contrast as it is said wherever it is shown.

    Of one that is the same on every prompt it is `AGREE` or `DIFFER`, not that the data cannot tell.
    """
    value = row["value"]
    if row["verdict"] != UNKNOWN or row["prompts"] < 2 or value is None or not math.isfinite(value):
        return row["verdict"]
    return DIFFER if value else AGREE


def _same_everywhere_words(estimate: CrossedEstimate, metric: Metric) -> str:
    if estimate.value == 0:
        return f"{AGREE}, so there is no test"
    return f"{DIFFER} ({_signed(estimate.value, metric, _shape((estimate.value,), metric))}), so there is no test"


def _why_unknown(estimate: CrossedEstimate) -> str:
    if estimate.seeds == 0:
        return "no seed is finished on both sides"
    prompts = "1 prompt has" if estimate.prompts == 1 else "no prompt has"
    return f"{prompts} a value on both sides, so there is no interval"


def _equivalence_words(tests: Sequence[Equivalence], unit: str) -> str:
    within = " or ".join(f"{test.margin:g}" for test in tests if test.equivalent)
    beyond = " or ".join(f"{test.margin:g}" for test in tests if not test.equivalent)
    of_unit = f" {unit}" if unit else ""
    if not within:
        return f", not shown equivalent within {beyond}{of_unit}" if beyond else ""
    return f", equivalent within {within}{of_unit}" + (f", not within {beyond}" if beyond else "")


def _shape(values: Sequence[float], metric: Metric) -> str:
    """Return how numbers that stand together are written: with the metric's digits, if these tell any of them."""
    digits = digits_that_tell(values, metric.digits)
    return ".2e" if digits is None else f".{digits}f"


def _ends(interval: Interval, shape: str) -> str:
    return f"{kept(interval.low):{shape}} to {kept(interval.high):{shape}}"


def _signed(value: float, metric: Metric, shape: str) -> str:
    return f"{kept(value):+{shape}}" + (f" {metric.unit}" if metric.unit else "")
