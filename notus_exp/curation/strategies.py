"""Every strategy that the feedback admits, side by side: what each chooses, and on simulated data how well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from notus_exp.config.curation_settings import PairRule, Repair
from notus_exp.contracts.curation_file import StrategyTruth, TruthShare
from notus_exp.curation.columns import needed
from notus_exp.curation.expressions import named_columns
from notus_exp.curation.filters import apply_filters
from notus_exp.curation.labels import relabel
from notus_exp.curation.pairs import attempt_pairs, plainly
from notus_exp.curation.repair import repair_scores
from notus_exp.curation.scores import CRITIQUE, ScoreRule, labelled, labellings, selected
from notus_exp.disk.hashing import uniform
from notus_exp.inference.estimates import share_estimate
from notus_exp.stages.settings import PairsSettings

LATENT = "latent_quality"
MOST_PROMPTS = 20_000
"""Strategies are compared on at most so many prompts: an agreement is then known to within 0.7 points."""


class Strategy(NamedTuple):
    """A way to score completions; `own` marks that of the run."""

    label: str
    repair: Repair
    score: ScoreRule
    own: bool


class StrategyComparison(NamedTuple):
    """What the strategies choose on the compared prompts.

    Attributes:
        table: The completions of the compared prompts; positions below point into it.
        labels: The strategies' names, shape (s,).
        own: Name of the run's own strategy.
        choices: One row a prompt: `group, prompt_id`, and `chosen_<i>, rejected_<i>` (positions) and `key_<i>` (hash of
            the chosen text) per strategy i, null where it makes no pair.
        scores: One row a completion left by the filters: `group, at`, and `score_<i>`.
        sampled: Whether there were more than `MOST_PROMPTS` prompts.
    """

    table: pl.DataFrame
    labels: list[str]
    own: str
    choices: pl.DataFrame
    scores: pl.DataFrame
    sampled: bool


def strategies(completions: pl.DataFrame, spec: PairsSettings) -> list[Strategy]:
    """Return the strategies for which the feedback has any score.

    They are the critique as it is, the critique repaired, the average, each aspect, and the run's own where it is a
    weighted mean or has a repair of its own.
    """
    plain = replace(spec.repair, name="none")
    known = ["openbmb"] if spec.aspects else []  # without ratings no repair can judge
    repairs = [replace(spec.repair, name=name) for name in dict.fromkeys(["none", *known, spec.repair.name])]
    own_label = _own_label(spec)
    ways = [(_critique(repair), repair, labelled(CRITIQUE, spec.aspects)) for repair in repairs]
    ways += [(name, plain, labelled(name, spec.aspects)) for name in labellings(spec.aspects)[1:]]
    if own_label not in [label for label, _, _ in ways]:
        ways.append((own_label, spec.repair, selected(spec.selection, spec.aspects)))
    found = [Strategy(label, repair, score, label == own_label) for label, repair, score in ways]
    return [way for way in found if not way.score(completions).values.is_null().all()]


def compare_strategies(completions: pl.DataFrame, spec: PairsSettings, benchmark: Sequence[str]) -> StrategyComparison:
    """Let every strategy choose, under the run's filters on prompts and completions, ties and rejection.

    Rules on the size of things are left out (`min_margin`, whose unit differs between strategies, `valid_under` and
    `max_pairs`), so that each strategy is seen whole.
    """
    ids = completions["prompt_id"].unique().sort()
    sampled = len(ids) > MOST_PROMPTS
    table = completions.with_columns(pl.col(pl.Float64).fill_nan(None))
    if sampled:
        smallest = np.argsort(uniform(ids, 0, "report"), kind="stable")[:MOST_PROMPTS]
        table = table.filter(pl.col("prompt_id").is_in(ids.gather(smallest.tolist()).implode()))
    narrow = table.select(pl.col(needed(table.columns)))
    candidates = apply_filters(narrow, spec.filters, benchmark, named_columns(spec))
    ways = strategies(table, spec)
    choices = candidates.prompts.filter(pl.col("rule").is_null()).select("group", "prompt_id")
    scores = candidates.completions.select("group", "at")
    for number, way in enumerate(ways):
        plain = plainly(spec) if not way.own else replace(spec, pairs=PairRule())
        pairs = attempt_pairs(candidates, way.score, replace(plain, repair=way.repair), min_margin=0.0).pairs
        columns = {f"{name}_{number}": name for name in ("chosen", "rejected")} | {f"key_{number}": "chosen_same"}
        made = pairs.filter(pl.col("rule").is_null())
        if way.own:
            whose = choices.select("group", "prompt_id").join(made.select("group"), on="group", maintain_order="right")
            made = relabel(made, whose["prompt_id"], spec.selection.labels, spec.seed)
        choices = choices.join(made.select("group", **columns), on="group", how="left", maintain_order="left")
        repaired = repair_scores(candidates.completions, spec.aspects, way.repair).completions
        scores = scores.with_columns(way.score(repaired).values.alias(f"score_{number}"))
    labels = [way.label for way in ways]
    return StrategyComparison(table, labels, next((way.label for way in ways if way.own), ""), choices, scores, sampled)


def agreement(comparison: StrategyComparison) -> tuple[list[list[float | None]], list[list[int]]]:
    """Return how often two strategies choose the same text, and on how many prompts (those where both make a pair).

    Returns:
        Two matrices of shape (s, s); a share without any common prompt is None.
    """
    columns = [comparison.choices[f"key_{number}"] for number in range(len(comparison.labels))]
    both = [[(a.is_not_null() & b.is_not_null()) for b in columns] for a in columns]
    numbers = [[int(common.sum()) for common in row] for row in both]
    same = [[int((a == b).sum()) for b in columns] for a in columns]
    shares = [
        [hits / n if n else None for hits, n in zip(hit_row, n_row, strict=True)]
        for hit_row, n_row in zip(same, numbers, strict=True)
    ]
    return shares, numbers


def truth(comparison: StrategyComparison) -> dict[str, StrategyTruth]:
    """Return per strategy how often its choice is right on data whose true quality is known, else an empty dict.

    `best`: the chosen response has the highest latent quality of the prompt's remaining completions. `better`: it has a
    higher latent quality than the rejected one (an equal one counts as not better). Each is a share over the prompts
    of which the strategy makes a pair, with a 95 % Wilson interval.
    """
    if LATENT not in comparison.table.columns:
        return {}
    latent = comparison.table[LATENT]
    highest = comparison.scores.with_columns(latent=latent.gather(comparison.scores["at"]))
    highest = highest.group_by("group").agg(highest=pl.col("latent").max())
    choices = comparison.choices.join(highest, on="group", how="left", maintain_order="left")
    found: dict[str, StrategyTruth] = {}
    for number, label in enumerate(comparison.labels):
        made = choices.filter(pl.col(f"chosen_{number}").is_not_null())
        chosen, rejected = (latent.gather(made[f"{role}_{number}"]) for role in ("chosen", "rejected"))
        found[label] = {
            "best": share(int((chosen == made["highest"]).sum()), made.height),
            "better": share(int((chosen > rejected).sum()), made.height),
        }
    return found


def share(successes: int, number: int) -> TruthShare:
    """Return a share with its 95 % Wilson interval (Wilson 1927); None where it is a share of nothing."""
    estimate = share_estimate(successes, number)
    value, low, high = (None if math.isnan(one) else one for one in (estimate.value, estimate.low, estimate.high))
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def _own_label(spec: PairsSettings) -> str:
    labels = {
        "critique": _critique(spec.repair),
        "per_aspect": spec.selection.aspect or "",
    }
    return labels.get(spec.selection.name, spec.selection.name)


def _critique(repair: Repair) -> str:
    return CRITIQUE if repair.name == "none" else f"{CRITIQUE}, repair {repair.name}"
