"""The first line of a report: what the study shows, in one sentence, and what a reader must know beside it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, cast

from notus_exp.comparison.cautions import LACKING, caution_words, counted_cautions
from notus_exp.comparison.words import AGREE, DIFFER, ON_VALIDATION, said_verdict
from notus_exp.contracts.comparison_file import ALIKE, HIGHER, LOWER, UNKNOWN, ComparisonFile, ContrastRow, family_of
from notus_exp.evaluation.kit.description import MAXIMIZE, MINIMIZE
from notus_exp.evaluation.metrics import metric_of
from notus_exp.inference.crossed import Components
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.paired import POWER
from notus_exp.inference.power import LEAST_SEEDS, Design, detectable_effect, power, prompts_needed, seeds_needed
from notus_exp.reporting.pilot import UNGIVEN, pilot_of, seed_bound
from notus_exp.reporting.planning import few_differ
from notus_exp.study.report.numbers import number, span_of, unit_after, value_of

MOST_SEEDS = 30
"""Seeds beyond which their number is no advice."""
MOST_NAMED = 4
"""Arms of one kind that a headline names; of more it says how many there are."""
WORTH = 0.05
"""A difference that is worth seeing where no margin was named, as a share of the metric's span."""


_NO_SPREAD = "Where every prompt shows the same there is no spread, so there is no test and no p."


class Plan(NamedTuple):
    """What a contrast without a verdict would take.

    Attributes:
        text: Said of it.
        effect: The difference that is planned for, in the metric's unit; None where nothing is.
        prompts: Numbers of prompts that the plan speaks of.
    """

    text: str
    effect: float | None = None
    prompts: tuple[int, ...] = ()


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
    on_top = cautions_on_top(family)
    lacking = [one for one in on_top if LACKING in one]
    remarks = [*lacking, *remarks, *(one for one in on_top if one not in lacking)]
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
    """Return `better` or `worse` where the metric says which way is, else the verdict as it is.

    Of a contrast that is the same on every prompt it is as `said_verdict`.
    """
    better = {MAXIMIZE: HIGHER, MINIMIZE: LOWER}.get(metric_of(row["metric"]).direction or "")
    if better is None or row["verdict"] not in (HIGHER, LOWER):
        return said_verdict(row)
    return "better" if row["verdict"] == better else "worse"


def cautions_on_top(family: Sequence[ContrastRow]) -> list[str]:
    """Return the cautions that are said beside the verdict: those of every contrast, and those of missing values."""
    if not family:
        return []
    shared = [one for one in family[0]["cautions"] if all(one in row["cautions"] for row in family)]
    own = [
        cast(ContrastRow, {**row, "cautions": [one for one in row["cautions"] if LACKING in one and one not in shared]})
        for row in family
    ]
    named = caution_words(own)
    if len(named) > MOST_NAMED:
        named = counted_cautions(own, "contrasts")
    return [f"{one}." for one in [*shared, *named]]


def cautions_beside(family: Sequence[ContrastRow]) -> list[str]:
    """Return the other cautions, each once, after the arms that it is of."""
    shared = [one for one in family[0]["cautions"] if all(one in row["cautions"] for row in family)] if family else []
    rest = [
        {**row, "cautions": [one for one in row["cautions"] if LACKING not in one and one not in shared]}
        for row in family
    ]
    return [f"{one}." for one in caution_words(cast(list[ContrastRow], rest))]


def what_would_show(row: ContrastRow, margin: float | None, family: int) -> str:
    """Say what a contrast without a verdict could have shown, and how much more would show a difference worth seeing.

    That is the margin, or `WORTH` of the metric's span. Each contrast is planned at 0.05 / family with 80 % power, with
    the variance between seeds at its upper bound, as `power --pilot` advises: what that does not hold up is not said.

    Args:
        row: The contrast.
        margin: Of the study; None where none was named.
        family: Contrasts of the family.
    """
    return _plan(row, margin, family).text


def what_each_takes(
    family: Sequence[ContrastRow], margin: float | None, arms: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """Return of each contrast that shows no difference its arm and what would show more, as `what_would_show`.

    Nothing is said of arms that are shown to be equivalent within the margin: that is a result.

    Args:
        family: All contrasts of it.
        margin: Of the study; None where none was named.
        arms: Of which it is asked; None: of all.
    """
    alike = [
        row
        for row in family
        if (arms is None or row["arm"] in arms) and row["verdict"] == ALIKE and not _equivalent(row)
    ]
    return [(row["arm"], what_would_show(row, margin, len(family))) for row in alike]


def _plan(row: ContrastRow, margin: float | None, family: int) -> Plan:
    metric, size = metric_of(row["metric"]), _size(row)
    parts = row["components"]
    if row["seeds"] == 1:
        return Plan(f"{size} cannot tell: other seeds may turn the result")
    if parts["prompt"] is None or parts["seed"] is None or parts["residual"] is None:
        return Plan(f"{size} cannot tell")
    variances = Components(parts["prompt"], parts["seed"], parts["residual"])
    if variances.prompt + variances.residual <= 0:
        return Plan(f"{size} cannot tell")
    bound = seed_bound(pilot_of(row), UNGIVEN)
    if bound is None or row["seeds"] < LEAST_SEEDS:
        return Plan(f"{size} cannot tell; the variance between seeds is not known, so more seeds come first")
    worst = variances._replace(seed=bound.variance)
    design = Design(row["prompts"], row["seeds"], 1 - (1 - CONFIDENCE) / family)
    span = metric.span or metric.scale
    effect = margin or (float(f"{WORTH * (span[1] - span[0]):.1g}") if span else None)
    unit, sure = _unit(row), f"with {100 * POWER:g} % power"
    if effect is None:
        least = detectable_effect(worst, design)
        told = f"{size} show differences from about {number(float(f'{least:.2g}'))}{unit} on {sure}"
        return Plan(told, None, (design.prompts,))
    if power(worst, effect, design).value >= POWER:
        told = f"{size} would have shown a difference of {effect:g}{unit} {sure}"
        return Plan(told, effect, (design.prompts,))
    more, planned = _more(worst, effect, design)
    if more:
        return Plan(f"{size} cannot tell; {' or '.join(more)} would show {effect:g}{unit} {sure}", effect, planned)
    if power(variances, effect, design).value >= POWER or _more(variances, effect, design)[0]:
        spread = f"a deviation of {bound.words(variances.seed)}{unit}"
        told = f"the variance between seeds is not known well enough ({spread}), so more seeds come first"
        return Plan(f"{size} cannot tell; {told}", effect)
    told = f"{size} cannot tell; only more prompts and more seeds together would show {effect:g}{unit} {sure}"
    return Plan(told, effect, (design.prompts,))


def _more(variances: Components, effect: float, design: Design) -> tuple[list[str], tuple[int, ...]]:
    """Return what would show an effect, more prompts or more seeds, in words, and the numbers of prompts in it."""
    prompts = prompts_needed(variances, effect, design.seeds, confidence=design.confidence)
    seeds = seeds_needed(variances, effect, design.prompts, confidence=design.confidence)
    planned = (prompts,) if prompts is not None and prompts > design.prompts else ()
    more = [f"{_rounded(count):,} prompts" for count in planned]
    if seeds is not None and design.seeds < seeds <= MOST_SEEDS:
        more, planned = [*more, f"{_rounded(seeds):,} seeds"], (*planned, design.prompts)
    return more, planned


def _verdict(comparison: ComparisonFile, family: list[ContrastRow]) -> tuple[str, list[str]]:
    study = comparison["study"]
    if not family:
        return _one_arm(comparison), []
    baseline, margin = str(study["baseline"]), study["margin"]
    if len(family) == 1:
        return _of_one(family[0], baseline, margin)
    by_word: dict[str, list[ContrastRow]] = {}
    for row in family:
        word = verdict_word(row)
        by_word.setdefault("equivalent" if word == ALIKE and _equivalent(row) else word, []).append(row)
    alike, equal, unknown, agree, differ = (
        by_word.pop(word, []) for word in (ALIKE, "equivalent", UNKNOWN, AGREE, DIFFER)
    )
    said: list[str] = []
    for word in sorted(by_word, key=("better", "higher", "lower", "worse").index):
        rows, than = by_word[word], "" if said else f" than {baseline}"
        said.append(f"{_names(rows, len(family))} {_is(rows)} {word}{than}{_by_less(rows)}")
    said += [f"{row['arm']} {_differs(row, baseline)}" for row in differ[:MOST_NAMED]]
    if equal:
        within = f"equivalent to {baseline} within ±{_margin(equal[0])}"
        said.append(f"{_names(equal, len(family))} {_is(equal)} {within}")
    if agree:
        said.append(f"{_names(agree, len(family))} agree{'s' * (len(agree) == 1)} with {baseline} on every prompt")
    plans = [(row, _plan(row, margin, len(family))) for row in _told(alike)]
    kinds = {**by_word, "equivalent": equal, "no difference shown": alike, AGREE: agree, "not comparable": unknown}
    remarks = [*_plan_remarks(plans, margin, named=True), *_named_below(kinds, len(family))]
    if alike and len(alike) == len(family):
        needs = {plan.text for _, plan in plans}
        if len(needs) == 1:
            return f"No difference from {baseline} can be shown: {needs.pop()}.", remarks
        said.append(f"no difference from {baseline} can be shown")
    elif alike:
        said.append(f"no difference from {baseline} can be shown for {_names(alike, len(family))}")
    if unknown:
        said.append(f"{_names(unknown, len(family))} cannot be compared with {baseline}")
    open_ones = [f"{row['arm']}: {plan.text}." for row, plan in plans]
    reasons = [f"{row['arm']}: {why}." for row in unknown[:MOST_NAMED] if (why := _why_not(row))]
    return _sentence("; ".join(said)), [*open_ones, *remarks, *reasons]


def _named_below(kinds: Mapping[str, Sequence[ContrastRow]], family: int) -> list[str]:
    """Return which arms are of a kind that the line says only the number of; not where all are."""
    counted = {word: rows for word, rows in kinds.items() if MOST_NAMED < len(rows) < family}
    return [f"{word[0].upper()}{word[1:]}: {', '.join(row['arm'] for row in rows)}." for word, rows in counted.items()]


def _told(alike: Sequence[ContrastRow]) -> list[ContrastRow]:
    """Return the contrasts of which is told what would show more: of many only the least sure one."""
    if len(alike) <= MOST_NAMED:
        return list(alike)
    return [max(alike, key=lambda row: row["standard_error"] or 0.0)]


def _plan_remarks(told: Sequence[tuple[ContrastRow, Plan]], margin: float | None, *, named: bool) -> list[str]:
    """Return what is to be known of the plans that were told: whose the difference is, and where one is too hopeful.

    It is what `power --pilot` says of the same contrast; of several the one where the fewest prompts differ.
    """
    plans = [(row, plan) for row, plan in told if plan.prompts]
    effects = {plan.effect for _, plan in plans if plan.effect is not None and margin is None}
    found = [f"{effect:g} is {100 * WORTH:g} % of the metric's span: no margin was named." for effect in effects]
    known = [(row["differing"], place) for place, (row, _) in enumerate(plans) if row.get("differing") is not None]
    if not known:
        return found
    fewest, place = min(known)
    row, plan = plans[place]
    said = few_differ(fewest / row["prompts"], plan.prompts, row["prompts"], whose="the prompts")[:1]
    return [*found, *(f"{row['arm']}: {one}." if named else f"{one[0].upper()}{one[1:]}." for one in said)]


def _of_one(row: ContrastRow, baseline: str, margin: float | None) -> tuple[str, list[str]]:
    arm, word = row["arm"], verdict_word(row)
    if word == AGREE:
        return f"{arm} and {baseline} agree on every prompt ({_size(row)}).", [_NO_SPREAD]
    if word == DIFFER:
        return f"{arm} {_differs(row, baseline)} ({_size(row)}).", [_NO_SPREAD]
    if word == UNKNOWN:
        return f"{arm} cannot be compared with {baseline}{_because(row)}.", []
    if word == ALIKE:
        if _equivalent(row):
            return f"{arm} and {baseline} are equivalent within ±{_margin(row)}.", []
        plan = _plan(row, margin, 1)
        return f"No difference can be shown: {plan.text}.", _plan_remarks([(row, plan)], margin, named=False)
    value, span = value_of(row, sign=True), span_of(row, sign=True)
    return f"{arm} is {word} than {baseline}{_by_less([row])}: {value}{_unit(row)} (95 % {span}).", []


def _differs(row: ContrastRow, baseline: str) -> str:
    better, higher = metric_of(row["metric"]).direction, (row["value"] or 0.0) > 0
    favour = "" if better is None else f", in favour of {row['arm'] if higher == (better == MAXIMIZE) else baseline}"
    return f"and {baseline} differ by {value_of(row, sign=True)}{_unit(row)} on every prompt{favour}"


def _why_not(row: ContrastRow) -> str:
    """Return why two arms cannot be compared; "" where that is not known."""
    if not row["seeds"]:
        return "no seed is finished on both sides"
    if row["prompts"] < 2:
        return f"{'1 prompt has' if row['prompts'] else 'no prompt has'} a value on both sides"
    return ""


def _because(row: ContrastRow) -> str:
    why = _why_not(row)
    return f": {why}" if why else ""


def _equivalent(row: ContrastRow) -> bool:
    return bool(row["equivalence"] and row["equivalence"]["equivalent"])


def _margin(row: ContrastRow) -> str:
    return f"{row['equivalence']['margin']:g}{_unit(row)}" if row["equivalence"] else ""


def _by_less(rows: Sequence[ContrastRow]) -> str:
    """Say of which arms that differ it is shown that they do by less than would matter."""
    within = [row for row in rows if _equivalent(row)]
    if not within:
        return ""
    less = f"by less than the margin of {_margin(within[0])}"
    return f", {less}" if len(within) == len(rows) else f" ({_names(within, len(rows))} {less})"


def _unit(row: ContrastRow) -> str:
    return unit_after(row["metric"])


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
