"""The counts of a curation: every prompt and completion is either in a pair or charged to exactly one rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Filters, Split
from notus_exp.config.expression_checks import OF_COMPLETIONS
from notus_exp.contracts.curation_file import CurationCounts
from notus_exp.curation.filters import PROMPT_RULES
from notus_exp.curation.rejection import PAIR_RULES
from notus_exp.curation.split import SPLITS

RULES = (*PROMPT_RULES, *PAIR_RULES, "identical_pair", "below_min_margin", "not_valid_under", "other_fold",
         "where_missing", "where_false", "not_kept", "above_max_pairs")  # fmt: skip
"""What takes prompts, in the order in which the rules are asked."""

REMEDIES = {
    "excluded_source": "see filters.exclude_sources",
    "duplicate_prompt": "see filters.duplicate_prompts",
    "contaminated": "raise filters.contamination.max_overlap, or check that its files are not the training data",
    "fewer_than_two_scored": "completions lack the score that this selection reads, or are filtered by length: "
    "try another selection",
    "tie_at_the_top": "set selection.ties=hash",
    "nothing_worse": "every completion scores the same: try another selection or rejected.strictly_worse=false",
    "tie_of_rejected": "set rejected.ties=hash",
    "identical_pair": "every response that could be rejected has the text of the chosen one: "
    "see filters.identical_pairs",
    "below_min_margin": "lower filters.min_margin",
    "not_valid_under": "list fewer strategies in filters.valid_under",
    "other_fold": "no training prompt is of this fold: lower split.folds, or add prompts",
    "where_missing": "filters.where has no value there: ask what is missing with IS NULL, or give it one with COALESCE",
    "where_false": "loosen filters.where",
    "not_kept": "raise filters.keep.share",
    "above_max_pairs": "raise filters.max_pairs",
}


COMPLETION_REMEDIES = {
    "empty_response": "answers are empty, or held nothing but their prompt, which data.repeated_prompts=strip strips: "
    "give the data its answers, or set data.repeated_prompts=keep or filters.empty_responses=false",
    "below_min_chars": "lower filters.min_chars",
    "above_max_chars": "raise filters.max_chars",
    "no_score": "completions lack the score that this selection reads: try another selection",
    "duplicate_response": "responses have the same text: see filters.duplicate_responses",
}
"""What helps where a rule that takes single completions left a prompt fewer than two."""


class Counted(NamedTuple):
    """What is counted.

    Attributes:
        pairs: Every pair, those of a prompt together, and every prompt without one: `group, split, rule` (null for a
            pair that stays), `ties_top, ties_rejected, replaced`.
        completions: Completions in the table.
        dropped: Completions of remaining prompts taken by a rule of their own.
        scored: `group` of each completion that no rule took.
        moved_to_train: Prompts that are in train only because otherwise none would be.
        missing: Setting of an expression of the user's -> cause -> completions or pairs that it gave no value.
    """

    pairs: pl.DataFrame
    completions: int
    dropped: dict[str, int]
    scored: pl.Series
    moved_to_train: int
    missing: dict[str, dict[str, int]]


def rules_of(filters: Filters, split: Split) -> list[str]:
    """Return the rules that take prompts under these settings, those of the beginning whatever they are."""
    asked = {
        "where": filters.where is not None,
        "not_kept": filters.keep.by is not None,
        "other_fold": split.fold is not None,
    }
    return [rule for rule in RULES if asked.get(rule, asked.get(rule.split("_")[0], True))]


def count(counted: Counted, repair: dict[str, int], rules: Sequence[str] = RULES) -> CurationCounts:
    """Return the counts, checked; of a prompt whose pairs were all taken, the rule that took the first counts."""
    prompts, pairs = _by_prompt(counted.pairs), counted.pairs.filter(pl.col("rule").is_null())
    with_pairs = pairs if prompts is counted.pairs else prompts.filter(pl.col("rule").is_null())
    reached = prompts.filter(pl.col("rule").is_null() | pl.col("rule").is_in(["tie_at_the_top", "tie_of_rejected"]))
    in_pairs = with_pairs.height + pairs.height
    beside_pairs = int(counted.scored.is_in(with_pairs["group"].implode()).sum())
    elsewhere = counted.completions - beside_pairs - sum(counted.dropped.values())
    counts: CurationCounts = {
        "prompts_in": prompts.height,
        "pairs_out": pairs.height,
        "prompts_dropped": {rule: int((prompts["rule"] == rule).sum()) for rule in rules},
        "completions_in": counted.completions,
        "completions_in_pairs": in_pairs,
        "completions_not_taken": beside_pairs - in_pairs,
        "completions_dropped": {**counted.dropped, "prompt_dropped": elsewhere},
        "ties_top": int(reached["ties_top"].sum()),
        "ties_rejected": int(reached["ties_rejected"].sum()),
        "rejected_replaced": int(pairs["replaced"].sum()),
        "repair": repair,
        "split": {name: int((pairs["split"] == name).sum()) for name in SPLITS},
        "moved_to_train": counted.moved_to_train,
    }
    if counted.missing:
        counts["missing_values"] = counted.missing
    if pairs.height > with_pairs.height or counted.pairs.height > prompts.height:
        counts["prompts_out"] = with_pairs.height
        lost = counted.pairs.filter(pl.col("group").is_in(with_pairs["group"].implode()))["rule"].drop_nulls()
        counts["pairs_dropped"] = {rule: int((lost == rule).sum()) for rule in rules if (lost == rule).any()}
    check_counts(counts)
    return counts


def check_counts(counts: CurationCounts) -> None:
    """Check that prompts, completions, splits and repaired scores are all accounted for.

    Raises:
        RuntimeError: If a sum does not hold, which is a defect of this package and never of the data.
    """
    repair = counts["repair"]
    sums = {
        "prompts": (
            counts["prompts_in"],
            counts.get("prompts_out", counts["pairs_out"]) + sum(counts["prompts_dropped"].values()),
        ),
        "completions": (
            counts["completions_in"],
            counts["completions_in_pairs"]
            + counts["completions_not_taken"]
            + sum(counts["completions_dropped"].values()),
        ),
        "split": (counts["pairs_out"], sum(counts["split"].values())),
        "repair": (
            repair["scores_of_10"],
            sum(repair.get(name, 0) for name in ("repaired", "removed", "sent_back", "ambiguous", "kept")),
        ),
    }
    wrong = {name: pair for name, pair in sums.items() if pair[0] != pair[1]}
    negative = [name for name, number in flat(counts).items() if number < 0]
    if wrong or negative:
        raise RuntimeError(f"curation's counts do not add up: {wrong or negative}")


def flat(counts: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts as one level: `prompts_dropped/contaminated` and so on."""
    result: dict[str, int] = {}
    for name, value in counts.items():
        if isinstance(value, dict):
            result |= {f"{name}/{key}": number for key, number in flat(value).items()}
        else:
            result[name] = value
    return result


def missing_notes(counts: CurationCounts) -> list[str]:
    """Say of each expression that gave no value somewhere how often, and why; one sentence each."""
    notes = []
    for key, causes in counts.get("missing_values", {}).items():
        if causes:
            number = sum(causes.values())
            of = ("completion" if key in OF_COMPLETIONS else "pair") + ("" if number == 1 else "s")
            why = ", ".join(f"{cause.replace('_', ' ')} {count:,}" for cause, count in causes.items())
            notes.append(f"{key} has no value for {number:,} {of}: {why}")
    return notes


def _by_prompt(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return one row a prompt: `rule` is null where a pair stays, else that of the first."""
    if not (pairs["group"].diff() == 0).any():
        return pairs
    rule = pl.when(pl.col("rule").is_null().any()).then(None).otherwise(pl.col("rule").first())
    decided = pl.col("ties_top", "ties_rejected").any()
    return pairs.group_by("group", maintain_order=True).agg(rule.alias("rule"), decided)


def explain_no_pairs(counts: CurationCounts) -> tuple[str, str]:
    """Return the message and the remedy for a curation that left no pair: which rule took how many prompts."""
    taken = {rule: number for rule, number in counts["prompts_dropped"].items() if number}
    listed = ", ".join(f"{rule} took {number}" for rule, number in taken.items())
    completions = {rule: number for rule, number in counts["completions_dropped"].items() if number}
    completions.pop("prompt_dropped", None)
    if completions:
        listed += "; of the completions " + ", ".join(f"{rule} took {number}" for rule, number in completions.items())
    for key, causes in counts.get("missing_values", {}).items():
        if causes:
            listed += f"; {key} is missing by {', '.join(f'{cause} {number}' for cause, number in causes.items())}"
    message = f"no pair is left of {counts['prompts_in']} prompts: {listed or 'the feedback is empty'}"
    if not taken:
        return message, "check the feedback"
    most = max(taken, key=lambda rule: taken[rule])
    if most == "fewer_than_two_scored" and completions:
        return message, COMPLETION_REMEDIES[max(completions, key=lambda rule: completions[rule])]
    return message, REMEDIES[most]
