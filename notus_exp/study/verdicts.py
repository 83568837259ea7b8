"""`compare --verdicts`: models by prompts that other tools measured, or games of two models each.

Every model has a mean with its interval, and every model is contrasted with one of them, paired by prompt and seed;
the contrasts are one family. Games have Bradley-Terry strengths instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from notus_exp.errors import UserError, did_you_mean
from notus_exp.inference.bradley_terry import bradley_terry
from notus_exp.inference.multiplicity import adjust
from notus_exp.scoring.report import Report, Table, number, p_value, span
from notus_exp.statistics import CONFIDENCE
from notus_exp.study.contrasts import Contrast, contrast, estimate_json, estimate_of, family_json
from notus_exp.study.values import Array, seed_table
from notus_exp.study.verdict_files import GAMES, Games, Values, games_of, kind_of, read_table, values_of
from notus_exp.study.words import p_words

_PERCENT = (0.0, 100.0)


@dataclass(frozen=True)
class Options:
    """What the command line asks for; None and empty where it does not."""

    kind: str | None = None
    baseline: str | None = None
    margins: Sequence[float] = field(default_factory=tuple)
    alpaca_eval: bool = False
    scale: float | None = None
    clusters: str | None = None


def report(path: Path, options: Options) -> Report:
    """Compare the models of a file.

    Args:
        path: CSV or parquet.
        options: The rest of the command line.

    Raises:
        UserError: The file cannot be used, an option does not fit its kind, or the baseline is not in it.
    """
    table = read_table(path)
    kind = options.kind or kind_of(table, path, options.clusters)
    if kind == GAMES:
        for name, given in (
            ("--margin", options.margins),
            ("--scale", options.scale),
            ("--alpaca-eval", options.alpaca_eval),
        ):
            if given:
                raise UserError(f"{name} does nothing with games of two models each", "leave it out")
        return _of_games(games_of(table, path, clusters=options.clusters), options)
    values = values_of(
        table, kind, path, clusters=options.clusters, alpaca_eval=options.alpaca_eval, scale=options.scale
    )
    return _of_values(values, kind, options)


def by_cluster(table: Array, clusters: Sequence[str]) -> Array:
    """Return the influence of each cluster on the mean, so that clusters take the place of prompts.

    With N prompts in G clusters, S_c the sum of a cluster's values under one seed, n_c its prompts and m the mean of
    the whole table, cluster c has under that seed

        m + G / N (S_c - n_c m)

    The mean over clusters is then the mean over prompts, and the error of independent clusters is that of
    `statistics.mean_estimate` with clusters (Liang and Zeger 1986).

    Args:
        table: Shape (K, N), no value missing.
        clusters: Shape (N,).

    Returns:
        Shape (K, G).
    """
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    mean, sizes = table.mean(), np.bincount(place)
    sums = np.stack([np.bincount(place, weights=row) for row in table])
    influence: Array = mean + names.size / place.size * (sums - sizes * mean)
    return influence


class _Models:
    """Values as tables of seeds by prompts, aligned over models."""

    def __init__(self, values: Values, clustered: bool) -> None:
        self.models = values.models
        self.prompts = values.table["prompt"].unique(maintain_order=True).to_list()
        self._columns: dict[str, dict[str, dict[str, float]]] = {model: {} for model in self.models}
        for (model, seed), rows in values.table.group_by("model", "seed", maintain_order=True):
            numbers = rows["value"].fill_null(math.nan)
            self._columns[str(model)][str(seed)] = dict(zip(rows["prompt"], numbers, strict=True))
        self.clusters = _clusters(values.table, self.prompts) if clustered else None

    def seeds(self, *models: str) -> list[str]:
        """Return the seeds that all of these models have."""
        return sorted(set.intersection(*(set(self._columns[model]) for model in models)))

    def table(self, model: str, seeds: Sequence[str]) -> Array:
        return seed_table([self._columns[model][seed] for seed in seeds], self.prompts)

    def units(self, table: Array) -> tuple[Array, int, int]:
        """Return a table by independent units, its complete prompts and those left out."""
        complete = ~np.isnan(table).any(axis=0) if len(table) else np.zeros(table.shape[1], dtype=bool)
        prompts = int(complete.sum())
        left_out = table.shape[1] - prompts
        if self.clusters is None or not prompts:
            return table, prompts, left_out
        return (
            by_cluster(table[:, complete], [self.clusters[place] for place in np.flatnonzero(complete)]),
            prompts,
            left_out,
        )


def _clusters(table: pl.DataFrame, prompts: Sequence[str]) -> list[str]:
    known = table.select("prompt", "cluster").unique()
    if known["cluster"].null_count() or known["prompt"].is_duplicated().any():
        prompt = known.filter(pl.col("cluster").is_null() | pl.col("prompt").is_duplicated())["prompt"][0]
        raise UserError(f"--clusters: prompt {prompt} has no cluster, or several", "give each prompt one")
    by_prompt = dict(known.iter_rows())
    return [by_prompt[prompt] for prompt in prompts]


def _of_values(values: Values, kind: str, options: Options) -> Report:
    models = _Models(values, options.clusters is not None)
    baseline = _baseline(options.baseline, values.models)
    limits = _PERCENT if options.alpaca_eval else None
    unit = "points" if options.alpaca_eval or options.scale is not None else ""
    means = [_mean(models, model, limits) for model in values.models]
    family, counts = [], []
    for model in values.models:
        if model != baseline:
            seeds = models.seeds(model, baseline)
            units, *counted = models.units(models.table(model, seeds) - models.table(baseline, seeds))
            reach = (-100.0, 100.0) if limits else None
            family.append(contrast(units, "", model, baseline, margins=options.margins, span=reach))
            counts.append(dict(zip(("prompts", "left_out"), counted, strict=True)))
    rows = [row | count for row, count in zip(family_json(family, unit), counts, strict=True)]
    for row, found in zip(rows, family, strict=True):
        del row["metric"], row["primary"]
        row["equivalence"] = [test._asdict() for test in found.tests]
    sentences = [f"{row['arm']} against {row['reference']}: {row['words']}" for row in rows]
    notes = [*values.notes, *_notes(models, baseline, options)]
    data = {"kind": kind, "baseline": baseline, "models": means, "contrasts": rows, "notes": notes}
    tables = [_means_table(means, unit), _contrasts_table(rows, family, baseline, unit)]
    return Report(data, tables, [*sentences, *notes])


def _notes(models: _Models, baseline: str, options: Options) -> list[str]:
    notes = []
    if options.baseline is None:
        notes.append(f"the baseline is {baseline}, the first in the file; --baseline names another")
    if all(len(models.seeds(model)) == 1 for model in models.models):
        notes.append("one value a model and prompt: how much training seeds move a model is not covered")
    return notes


def _mean(models: _Models, model: str, limits: tuple[float, float] | None) -> dict[str, Any]:
    units, prompts, left_out = models.units(models.table(model, models.seeds(model)))
    return {"model": model, **estimate_json(estimate_of(units, span=limits)), "prompts": prompts, "left_out": left_out}


def _means_table(means: Sequence[dict[str, Any]], unit: str) -> Table:
    digits = 2 if unit else 4
    rows = [
        [
            row["model"],
            number(row["value"], digits),
            span(row["low"], row["high"], digits),
            *(str(row[name]) for name in ("prompts", "seeds", "left_out")),
        ]
        for row in means
    ]
    return Table(f"Models{f', in {unit}' if unit else ''}", ["", "mean", "95 %", "prompts", "seeds", "left out"], rows)


def _contrasts_table(rows: Sequence[dict[str, Any]], family: Sequence[Contrast], baseline: str, unit: str) -> Table:
    digits = 2 if unit else 4
    margins = [test.margin for test in family[0].tests] if family else []
    columns = ["", "difference", "95 %", "prompts", "p", "Holm", "Benjamini-Hochberg", "verdict"]
    shown = [
        [
            row["arm"],
            number(row["value"], digits),
            span(row["low"], row["high"], digits),
            str(row["prompts"]),
            *(p_value(row[name]) for name in ("p", "holm", "benjamini_hochberg")),
            row["verdict"],
            *("yes" if test["equivalent"] else "not shown" for test in row["equivalence"]),
        ]
        for row in rows
    ]
    return Table(f"Minus {baseline}", [*columns, *(f"within {margin:g}" for margin in margins)], shown)


def _of_games(games: Games, options: Options) -> Report:
    names = sorted({*games.first, *games.second})
    baseline = _baseline(options.baseline, names)
    found = bradley_terry(games.first, games.second, games.score, reference=baseline, clusters=games.clusters)
    rivals = [strength for strength in found.strengths if strength.name != baseline]
    ps = [2 * float(stats.norm.sf(abs(strength.value / strength.standard_error))) for strength in rivals]
    adjusted = dict(zip((strength.name for strength in rivals), zip(ps, adjust(ps), strict=True), strict=True))
    rows: list[dict[str, Any]] = []
    for strength in found.strengths:
        p, both = adjusted.get(strength.name, (math.nan, None))
        corrected = {"holm": both.holm, "benjamini_hochberg": both.benjamini_hochberg} if both else {}
        rows.append({**strength._asdict(), "p": p, "holm": math.nan, "benjamini_hochberg": math.nan, **corrected})
    sentences = [_strength_words(row, baseline, len(rivals)) for row in rows if row["name"] != baseline]
    notes = [
        *games.notes,
        f"{found.games} games, {found.ties} of them ties, half a win each; errors "
        + ("clustered by prompt" if games.clusters else "of games that are independent"),
    ]
    if options.baseline is None:
        notes.append(f"the baseline is {baseline}, the first by name; --baseline names another")
    data = {"kind": GAMES, "baseline": baseline, "games": found.games, "ties": found.ties, "strengths": rows}
    return Report({**data, "notes": notes}, [_strengths_table(rows, baseline)], [*sentences, *notes])


def _strength_words(row: dict[str, Any], baseline: str, family: int) -> str:
    higher = "stronger" if row["value"] > 0 else "weaker"
    verdict = higher if row["holm"] < 1 - CONFIDENCE else "not distinguishable"
    among = f", {p_words(row['holm'])} among {family} by Holm" if family > 1 else ""
    said = f"{row['value']:+.2f} logits, 95 % {row['low']:.2f} to {row['high']:.2f}; p {p_words(row['p'])}{among}"
    return f"{row['name']} against {baseline}: {verdict} ({said})"


def _strengths_table(rows: Sequence[dict[str, Any]], baseline: str) -> Table:
    shown = [
        [
            row["name"],
            number(row["value"], 4),
            span(row["low"], row["high"], 4),
            number(row["standard_error"], 4),
            *(p_value(row[name]) for name in ("p", "holm", "benjamini_hochberg")),
        ]
        for row in sorted(rows, key=lambda row: -row["value"])
    ]
    columns = ["", "strength", "95 %", "standard error", "p", "Holm", "Benjamini-Hochberg"]
    return Table(f"Bradley-Terry, logits above {baseline}", columns, shown)


def _baseline(given: str | None, models: Sequence[str]) -> str:
    if given is None:
        return models[0]
    if given not in models:
        raise UserError(f"--baseline: there is no model '{given}'", did_you_mean(given, models))
    return given
