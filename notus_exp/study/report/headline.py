"""The first line of a report: what the study shows, in one sentence, and what a reader must know beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from notus_exp.comparison.words import ON_VALIDATION
from notus_exp.contracts.comparison_file import ALIKE, HIGHER, LOWER, UNKNOWN, ComparisonFile, ContrastRow, family_of
from notus_exp.evaluation.kit.description import MAXIMIZE, MINIMIZE
from notus_exp.evaluation.metrics import metric_of
from notus_exp.inference.crossed import Components
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.paired import POWER
from notus_exp.inference.power import Design, detectable_effect, power, prompts_needed, seeds_needed
from notus_exp.study.report.numbers import number, span_of, value_of

MOST_NAMED = 4
"""Arms of one kind that a headline names; of more it says how many there are."""
WORTH = 0.05
"""A difference that is worth seeing where no margin was named, as a share of the metric's span."""


class Headline(NamedTuple):
    """What stands first.

    Attributes:
        line: The verdict in one sentence.
        remarks: What qualifies it, a sentence each.
    """

    line: str
    remarks: list[str]


def headline(comparison: ComparisonFile) -> Headline:
    """Return the verdict on a study of arms in one plain sentence, and what qualifies it.

    A search has no contrasts: its verdict is what comparison.json says.
    """
    study, arms = comparison["study"], comparison["arms"]
    if not arms:
        return Headline(comparison["verdict"], [])
    if not any(arm["seeds"] for arm in arms):
        return Headline("No run is finished, so there is nothing to compare.", [])
    family = family_of(comparison)
    line, remarks = _verdict(comparison, family)
    remarks += shared_cautions(family)
    if study["evaluation_split"] == "validation":
        remarks.append(f"{ON_VALIDATION}.")
    if chosen := study.get("chosen_afterwards"):
        remarks.append(
            f"Chosen after the runs were made: {' and '.join(chosen)}; what rests on that choice is exploratory."
        )
    remarks += [f"{one}." for one in study.get("after_results", [])]
    if missing := sum(len(arm["failed"]) for arm in arms):
        runs = "1 run has" if missing == 1 else f"{missing} runs have"
        remarks.append(f"{runs} no result; arms are compared on the seeds that they share.")
    return Headline(line, remarks)


def verdict_word(row: ContrastRow) -> str:
    """Return `better` or `worse` where the metric says which way is, else the verdict as it is."""
    better = {MAXIMIZE: HIGHER, MINIMIZE: LOWER}.get(metric_of(row["metric"]).direction or "")
    if better is None or row["verdict"] not in (HIGHER, LOWER):
        return row["verdict"]
    return "better" if row["verdict"] == better else "worse"


def shared_cautions(family: Sequence[ContrastRow]) -> list[str]:
    """Return what is to be said of every contrast of several alike: it is said once, not beside each."""
    if len(family) < 2:
        return []
    return [f"{one}." for one in family[0]["cautions"] if all(one in row["cautions"] for row in family)]


def what_would_show(row: ContrastRow, margin: float | None, family: int) -> str:
    """Say what a contrast without a verdict could have shown, and how much more would show a difference worth seeing.

    That is the margin, or `WORTH` of the metric's span. Each contrast is planned at 0.05 / family with 80 % power.

    Args:
        row: The contrast.
        margin: Of the study; None where none was named.
        family: Contrasts of the family.
    """
    metric, size = metric_of(row["metric"]), _size(row)
    parts = row["components"]
    if row["seeds"] == 1:
        return f"{size} cannot tell: other seeds may turn the result"
    if parts["prompt"] is None or parts["seed"] is None or parts["residual"] is None:
        return f"{size} cannot tell"
    variances = Components(parts["prompt"], parts["seed"], parts["residual"])
    if variances.prompt + variances.residual <= 0:
        return f"{size} cannot tell"
    design = Design(row["prompts"], row["seeds"], 1 - (1 - CONFIDENCE) / family)
    span = metric.span or metric.scale
    effect = margin or (float(f"{WORTH * (span[1] - span[0]):.1g}") if span else None)
    unit = f" {metric.unit}" if metric.unit else ""
    if effect is None:
        least = detectable_effect(variances, design)
        return f"{size} show differences from about {number(float(f'{least:.2g}'))}{unit} on"
    if power(variances, effect, design).value >= POWER:
        return f"{size} would have shown a difference of {effect:g}{unit}"
    prompts = prompts_needed(variances, effect, design.seeds, confidence=design.confidence)
    seeds = seeds_needed(variances, effect, design.prompts, confidence=design.confidence)
    more = " or ".join(
        f"{_rounded(count):,} {name}"
        for count, name in ((prompts, "prompts"), (seeds, "seeds"))
        if count is not None and count > (design.prompts if name == "prompts" else design.seeds)
    )
    if not more:
        return f"{size} cannot tell; only more prompts and more seeds together would show {effect:g}{unit}"
    return f"{size} cannot tell; {more} would show {effect:g}{unit}"


def _verdict(comparison: ComparisonFile, family: list[ContrastRow]) -> tuple[str, list[str]]:
    study = comparison["study"]
    if not family:
        return _one_arm(comparison), []
    baseline = str(study["baseline"])
    if len(family) == 1 and (row := family[0])["verdict"] != UNKNOWN:
        return _of_one(row, baseline, study["margin"])
    by_word: dict[str, list[ContrastRow]] = {}
    for row in family:
        by_word.setdefault(verdict_word(row), []).append(row)
    alike, unknown = by_word.pop(ALIKE, []), by_word.pop(UNKNOWN, [])
    said: list[str] = []
    for word in sorted(by_word, key=("better", "higher", "lower", "worse").index):
        than = "" if said else f" than {baseline}"
        said.append(f"{_names(by_word[word], len(family))} {_is(by_word[word])} {word}{than}")
    if alike and len(alike) == len(family):
        needs = {what_would_show(row, study["margin"], len(family)) for row in _told(alike)}
        if len(needs) == 1:
            return f"No difference from {baseline} can be shown: {needs.pop()}.", []
        said.append(f"no difference from {baseline} can be shown")
    elif alike:
        said.append(f"no difference from {baseline} can be shown for {_names(alike, len(family))}")
    if unknown:
        said.append(f"{_names(unknown, len(family))} cannot be compared with {baseline}")
    remarks = [f"{row['arm']}: {_remark(row, study['margin'], len(family))}." for row in _told(alike)]
    return _sentence("; ".join(said)), remarks


def _told(alike: Sequence[ContrastRow]) -> list[ContrastRow]:
    """Return the contrasts of which is told what would show more: of many only the least sure one."""
    if len(alike) <= MOST_NAMED:
        return list(alike)
    return [max(alike, key=lambda row: row["standard_error"] or 0.0)]


def _remark(row: ContrastRow, margin: float | None, family: int) -> str:
    if row["equivalence"] and row["equivalence"]["equivalent"]:
        return f"equivalent within ±{row['equivalence']['margin']:g}"
    return what_would_show(row, margin, family)


def _of_one(row: ContrastRow, baseline: str, margin: float | None) -> tuple[str, list[str]]:
    if row["verdict"] == ALIKE:
        if row["equivalence"] and row["equivalence"]["equivalent"]:
            return f"{row['arm']} and {baseline} are equivalent within ±{row['equivalence']['margin']:g}.", []
        return f"No difference can be shown: {what_would_show(row, margin, 1)}.", []
    value, span = value_of(row, sign=True), span_of(row, sign=True)
    return f"{row['arm']} is {verdict_word(row)} than {baseline}: {value} (95 % {span}).", []


def _one_arm(comparison: ComparisonFile) -> str:
    study, arm = comparison["study"], comparison["arms"][0]
    reached = arm["metrics"].get(study["metric"])
    told = (
        ""
        if reached is None or reached["value"] is None
        else (f": it reached {value_of(reached)} (95 % {span_of(reached)}) in {study['metric']}")
    )
    return f"{arm['arm']} is the only arm, so there is nothing to compare it with{told}."


def _names(rows: Sequence[ContrastRow], family: int) -> str:
    if len(rows) > MOST_NAMED:
        return f"{len(rows)} of {family} arms"
    names = [row["arm"] for row in rows]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(rows: Sequence[ContrastRow]) -> str:
    return "is" if len(rows) == 1 else "are"


def _size(row: ContrastRow) -> str:
    return f"{row['prompts']:,} prompts and {row['seeds']} {'seed' if row['seeds'] == 1 else 'seeds'}"


def _rounded(count: int) -> int:
    """Return a number of prompts or seeds with two digits that count, rounded up: no more can be known of it."""
    step = int(10 ** max(len(str(count)) - 2, 0))
    return math.ceil(count / step) * step


def _sentence(text: str) -> str:
    """Return a text with a full stop; what it begins with is often the name of an arm, which stays as it is."""
    return f"No{text[2:]}." if text.startswith("no ") else f"{text}."
