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

from notus_exp.comparison.cautions import ONE_SEED, caution_words
from notus_exp.comparison.contrasts import Contrast, contrast, estimate_json, estimate_of, family_json
from notus_exp.comparison.per_prompt import seed_table
from notus_exp.comparison.reach import reach_of
from notus_exp.comparison.words import p_words
from notus_exp.contracts.comparison_file import UNKNOWN
from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.kit.description import Metric
from notus_exp.evaluation.metrics import check_margin
from notus_exp.external.verdict_columns import WantedColumns, origin_columns, told_apart
from notus_exp.external.verdict_files import GAMES, LONG, WIDE, Games, Values, games_of, kind_of, read_table, values_of
from notus_exp.inference.bradley_terry import FEW_CLUSTERS, LEAST_CLUSTERS, bradley_terry
from notus_exp.inference.crossed import Array
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.multiplicity import adjust
from notus_exp.judging.verdict_origin import untold
from notus_exp.reporting.tables import Report, Table, number, p_value, span

_PERCENT = (0.0, 100.0)
_ONE_VALUE = "one value a model and prompt: how much training seeds move a model is not covered"


@dataclass(frozen=True)
class VerdictOptions:
    """What the command line asks for; None and empty where it does not."""

    kind: str | None = None
    baseline: str | None = None
    margins: Sequence[float] = field(default_factory=tuple)
    alpaca_eval: bool = False
    scale: float | None = None
    clusters: str | None = None
    prompt_column: str | None = None
    models: Sequence[str] = field(default_factory=tuple)

    @property
    def asked(self) -> WantedColumns:
        """Return the columns that it names."""
        return WantedColumns(self.clusters, self.prompt_column, self.models)


def report(path: Path, options: VerdictOptions) -> Report:
    """Compare the models of a file.

    Args:
        path: CSV or parquet.
        options: The rest of the command line.

    Raises:
        UserError: The file cannot be used, an option does not fit its kind, the baseline is not in it, or verdicts of
            several judges or reference models are.
    """
    table = read_table(path)
    kind = options.kind or kind_of(table, path, options.asked)
    origin = origin_columns(table, options.asked, path)
    if kind != WIDE and options.models:
        raise UserError(f"--models goes with a table of kind {WIDE}, and '{path}' is {kind}", "leave it out")
    if kind == GAMES:
        for name, given in (
            ("--margin", options.margins),
            ("--scale", options.scale),
            ("--alpaca-eval", options.alpaca_eval),
        ):
            if given:
                raise UserError(f"{name} does nothing with games of two models each", "leave it out")
        games = games_of(table, path, options.asked)
        return _of_games(games._replace(notes=[*games.notes, *untold(origin, reference=False)]), options)
    for margin in options.margins if options.alpaca_eval else ():
        check_margin("alpaca_eval/win_rate", margin, "--margin")
    values = values_of(table, kind, path, options.asked, alpaca_eval=options.alpaca_eval, scale=options.scale)
    apart = told_apart(table, options.asked) if kind == LONG else []
    return _of_values(values, kind, options, [*untold(origin), *apart])


def by_cluster(table: Array, clusters: Sequence[str]) -> Array:
    """Return the influence of each cluster on the mean, so that clusters take the place of prompts.

    With N prompts in G clusters, S_c the sum of a cluster's values under one seed, n_c its prompts and m the mean of
    the whole table, cluster c has under that seed

        m + G / N (S_c - n_c m)

    The mean over clusters is then the mean over prompts, and the error of independent clusters is that of
    `estimates.mean_estimate` with clusters (Liang and Zeger 1986).

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

    def unshared(self, model: str, other: str) -> str:
        """Say which seeds one of two models has alone and a contrast of them leaves out; "" where there are none."""
        alone = [
            f"{', '.join(sorted(set(self._columns[one]) - set(self._columns[two])))} of {one}"
            for one, two in ((model, other), (other, model))
            if set(self._columns[one]) - set(self._columns[two])
        ]
        return f"{model} against {other} leaves out seeds that they do not share: {'; '.join(alone)}" if alone else ""

    def other_prompts(self, model: str, other: str) -> str:
        """Say on how many prompts one of two models has no row at all, so that a contrast leaves them out; "" on none.

        Rows without a value are not meant: those are verdicts that failed.
        """
        asked = {one: {prompt for rows in self._columns[one].values() for prompt in rows} for one in (model, other)}
        alone = [
            f"{len(asked[one] - asked[two])} of {one}, such as {min(asked[one] - asked[two])}"
            for one, two in ((model, other), (other, model))
            if asked[one] - asked[two]
        ]
        said = f"{model} against {other} leaves out prompts that they do not share, and their means are over others: "
        return said + "; ".join(alone) if alone else ""

    def units(self, table: Array) -> tuple[Array, dict[str, int]]:
        """Return a table by independent units, and how many prompts are complete, left out, and clusters of them."""
        complete = ~np.isnan(table).any(axis=0) if len(table) else np.zeros(table.shape[1], dtype=bool)
        prompts = int(complete.sum())
        left_out = table.shape[1] - prompts
        counts = {"prompts": prompts, "left_out": left_out}
        if self.clusters is None:
            return table, counts
        names = [self.clusters[place] for place in np.flatnonzero(complete)]
        counts["clusters"] = len(set(names))
        return by_cluster(table[:, complete], names) if prompts else table, counts


def _clusters(table: pl.DataFrame, prompts: Sequence[str]) -> list[str]:
    known = table.select("prompt", "cluster").unique()
    if known["cluster"].null_count() or known["prompt"].is_duplicated().any():
        prompt = known.filter(pl.col("cluster").is_null() | pl.col("prompt").is_duplicated())["prompt"][0]
        raise UserError(f"--clusters: prompt {prompt} has no cluster, or several", "give each prompt one")
    by_prompt = dict(known.iter_rows())
    return [by_prompt[prompt] for prompt in prompts]


def _of_values(values: Values, kind: str, options: VerdictOptions, unchecked: Sequence[str]) -> Report:
    models = _Models(values, options.clusters is not None)
    baseline = _baseline(options.baseline, values.models)
    limits = _PERCENT if options.alpaca_eval else None
    in_points = options.alpaca_eval or options.scale is not None
    unit = "points" if in_points else ""
    metric = Metric("", unit, digits=2 if unit else 3)
    means = [_mean(models, model, limits) for model in values.models]
    seen = (models.units(models.table(model, models.seeds(model)))[0] for model in values.models)
    reach = reach_of(metric, list(seen))
    family, counts = [], []
    for model in values.models:
        if model != baseline:
            seeds = models.seeds(model, baseline)
            units, counted = models.units(models.table(model, seeds) - models.table(baseline, seeds))
            ends = (-100.0, 100.0) if limits else None
            family.append(contrast(units, "", model, baseline, margins=options.margins, span=ends, reach=reach))
            counts.append(counted)
    found_rows = family_json(family, metric)
    cautions = caution_words(found_rows)
    rows = [row | count for row, count in zip(found_rows, counts, strict=True)]
    for row, found in zip(rows, family, strict=True):
        del row["metric"], row["primary"]
        row["equivalence"] = [test._asdict() for test in found.tests]
        if row.get("clusters") == 1:
            row["words"] = f"{UNKNOWN}: all {row['prompts']} prompts are of one cluster, so there is no interval"
    sentences = [f"{row['arm']} against {row['reference']}: {row['words']}" for row in rows]
    notes = [*values.notes, *_notes(models, baseline, options), *unchecked]
    if options.clusters is not None:
        notes += _cluster_notes([*means, *rows], options.clusters)
    data = {"kind": kind, "baseline": baseline, "models": means, "contrasts": rows, "notes": notes}
    tables = [_means_table(means, unit), *([_contrasts_table(rows, family, baseline, unit)] if family else [])]
    # the caution of one seed says what the note says
    told = [note for note in notes if note != _ONE_VALUE or ONE_SEED not in cautions]
    return Report(data, tables, [*sentences, *cautions, *told])


def _notes(models: _Models, baseline: str, options: VerdictOptions) -> list[str]:
    notes = []
    if len(models.models) == 1:
        notes.append(f"{baseline} is the only model, so there is nothing to compare it with")
    elif options.baseline is None:
        notes.append(f"the baseline is {baseline}, the first in the file; --baseline names another")
    notes += [said for model in models.models if (said := models.unshared(model, baseline))]
    notes += [said for model in models.models if (said := models.other_prompts(model, baseline))]
    if all(len(models.seeds(model)) == 1 for model in models.models):
        notes.append(_ONE_VALUE)
    return notes


def _mean(models: _Models, model: str, limits: tuple[float, float] | None) -> dict[str, Any]:
    units, counts = models.units(models.table(model, models.seeds(model)))
    return {"model": model, **estimate_json(estimate_of(units, span=limits)), **counts}


def _cluster_notes(rows: Sequence[dict[str, Any]], column: str) -> list[str]:
    """Say how many clusters there are: one number where all models and contrasts have it, else least and most."""
    counts = sorted({int(row["clusters"]) for row in rows})
    counted = " to ".join(map(str, sorted({counts[0], counts[-1]})))
    few = [_few_words(count) for count in counts if 1 < count < FEW_CLUSTERS][:1]
    return [f"errors are clustered by '{column}'; clusters: {counted}", *few]


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
    columns = ["", "difference", "95 %", "prompts", "seeds", "left out", "p", "Holm", "Benjamini-Hochberg", "verdict"]
    shown = [
        [
            row["arm"],
            number(row["value"], digits),
            span(row["low"], row["high"], digits),
            *(str(row[name]) for name in ("prompts", "seeds", "left_out")),
            *(p_value(row[name]) for name in ("p", "holm", "benjamini_hochberg")),
            row["verdict"],
            *("yes" if test["equivalent"] else "not shown" for test in row["equivalence"]),
        ]
        for row in rows
    ]
    return Table(f"Minus {baseline}", [*columns, *(f"within {margin:g}" for margin in margins)], shown)


def _of_games(games: Games, options: VerdictOptions) -> Report:
    names = sorted({*games.first, *games.second})
    baseline = _baseline(options.baseline, names)
    found = bradley_terry(games.first, games.second, games.score, reference=baseline, clusters=games.clusters)
    rivals = [strength for strength in found.strengths if strength.name != baseline]
    both = adjust([strength.p for strength in rivals])
    adjusted = {strength.name: one._asdict() for strength, one in zip(rivals, both, strict=True)}
    unknown = {"holm": math.nan, "benjamini_hochberg": math.nan}
    rows = [{**strength._asdict(), **adjusted.get(strength.name, unknown)} for strength in found.strengths]
    sentences = [_strength_words(row, baseline, found.clusters, len(rivals)) for row in rows if row["name"] != baseline]
    errors = "of games that are independent"
    if found.clusters is not None:
        unit = f"'{options.clusters}'" if options.clusters else "prompt"
        errors = f"clustered by {unit}; clusters: {found.clusters}"
    notes = [*games.notes, f"{found.games} games, {found.ties} of them ties, half a win each; errors {errors}"]
    if found.clusters is not None and LEAST_CLUSTERS <= found.clusters < FEW_CLUSTERS:
        notes.append(_few_words(found.clusters))
    if options.baseline is None:
        notes.append(f"the baseline is {baseline}, the first by name; --baseline names another")
    data = {"kind": GAMES, "baseline": baseline, "games": found.games, "ties": found.ties, "clusters": found.clusters}
    return Report({**data, "strengths": rows, "notes": notes}, [_strengths_table(rows, baseline)], [*sentences, *notes])


def _few_words(clusters: int) -> str:
    return f"{clusters} clusters are few (fewer than {FEW_CLUSTERS}): the intervals may be too narrow"


def _strength_words(row: dict[str, Any], baseline: str, clusters: int | None, family: int) -> str:
    if math.isnan(row["p"]):
        why = "the clusters do not differ"
        if clusters is not None and clusters < LEAST_CLUSTERS:
            why = f"{clusters} cluster{'s are' if clusters > 1 else ' is'} too few, an interval needs {LEAST_CLUSTERS}"
        return f"{row['name']} against {baseline}: {UNKNOWN} ({row['value']:+.2f} logits; {why})"
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
