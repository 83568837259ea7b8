"""The report on a curation: the numbers of curation.json and the self-contained page curation.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from notus_exp.contracts.curation_file import (
    FORMAT,
    AnnotatorsFound,
    CurationFile,
    ModelShare,
    SourceShare,
    StrategyAgreement,
    StrategyTruth,
)
from notus_exp.curation import pictures
from notus_exp.curation.annotators_table import annotators_table
from notus_exp.curation.counts import missing_notes
from notus_exp.curation.labels import label_notes
from notus_exp.curation.pairs import Curated
from notus_exp.curation.percents import SHADE, percent, span_of
from notus_exp.curation.spreads import spread_notes
from notus_exp.curation.strategies import LATENT, StrategyComparison, agreement, compare_strategies, truth
from notus_exp.curation.training_pairs import weight_notes, weights_found
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.prompt_turns import CONTEXT, as_read
from notus_exp.reporting.figures import inline, style
from notus_exp.reporting.looks import Look
from notus_exp.reporting.pages import page_templates
from notus_exp.reporting.strips import axis, scale_of, strip
from notus_exp.reporting.texts import cut
from notus_exp.stages.settings import PairsSettings

SAMPLES = 10
MOST_BARS = 20
"""Models and sources beyond so many are drawn together."""
PROMPT_CHARS, RESPONSE_CHARS = 600, 500
CHOSEN_LOOK, PAIR_LOOK = Look(pictures.CHOSEN, "o", "-"), Look(pictures.REJECTED, "D", "-")
QUANTILES = {"min": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}


class Summary(NamedTuple):
    """What a report shows.

    Attributes:
        numbers: The content of curation.json.
        margins: Margin of each pair, in score points, shape (n,).
        differences: Chosen minus rejected length of each pair, in characters, shape (n,).
        samples: Prompts on which strategies disagree.
    """

    numbers: CurationFile
    margins: np.ndarray
    differences: np.ndarray
    samples: list[dict[str, Any]]


def summarise(
    completions: pl.DataFrame,
    spec: PairsSettings,
    curated: Curated,
    contamination: Sequence[str] = (),
    reading: Mapping[str, int] | None = None,
    annotators: AnnotatorsFound | None = None,
) -> Summary:
    """Compute everything that the report shows. `latent_quality` is read here, after the pairs are made.

    Args:
        completions: The table that was curated.
        spec: The settings.
        curated: What `pairs.curate` made of it.
        contamination: The benchmark prompts that were kept out.
        reading: What became of the records when the feedback was read, where it is known.
        annotators: What they said, where there are any.
    """
    pairs = curated.pairs
    lengths = _lengths(pairs)
    differences = (lengths["chosen"] - lengths["rejected"]).to_numpy()
    margins = pairs["margin"].to_numpy()
    comparison = compare_strategies(completions, spec, contamination)
    shares, common = agreement(comparison)
    weighed = weights_found(pairs)
    numbers: CurationFile = {
        "format": FORMAT,
        "settings": _plain(asdict(spec)),
        "reading": dict(reading or {}),
        "counts": curated.counts,
        "models": _model_shares(pairs),
        "sources": _source_shares(pairs),
        "margins": _distribution(margins),
        "lengths": {
            "chosen": _distribution(lengths["chosen"].to_numpy()),
            "rejected": _distribution(lengths["rejected"].to_numpy()),
            "chosen_minus_rejected": _distribution(differences),
            "chosen_longer": float((differences > 0).mean()),
        },
        "agreement": {
            "strategies": comparison.labels,
            "own": comparison.own,
            "prompts": comparison.choices.height,
            "sampled": comparison.sampled,
            "same_chosen": shares,
            "common_prompts": common,
        },
        "truth": truth(comparison),
        "notes": [
            *spread_notes(completions, spec, pairs),
            *label_notes(spec.selection.labels),
            *weight_notes(weighed),
            *missing_notes(curated.counts),
        ],
    }
    if annotators:
        numbers["annotators"] = annotators
    if weighed:
        numbers["weights"] = weighed
    return Summary(cast(CurationFile, _rounded(numbers)), margins, differences, _samples(comparison))


def _lengths(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the lengths of the responses, in characters: of their texts, or as `pairs.described` holds them."""
    told = "chosen_chars" in pairs.columns
    chars = {
        role: pl.col(f"{role}_chars") if told else pl.col(role).list.first().struct.field("content").str.len_chars()
        for role in ("chosen", "rejected")
    }
    return pairs.select(expression.cast(pl.Int64).alias(role) for role, expression in chars.items())


def render(summary: Summary) -> str:
    """Return the report as one HTML page: no scripts, no requests, every text from the data escaped."""
    numbers = summary.numbers
    with style():
        figures = {name: inline(figure, name, words) for name, (figure, words) in _figures(summary).items()}
    templates = page_templates(Path(__file__).parent / "templates")
    return templates.get_template("curation.html.j2").render(
        numbers=numbers,
        counts=numbers["counts"],
        rejected=rejected_words(numbers["settings"]["rejected"]),
        missing=[
            (key, cause.replace("_", " "), number)
            for key, causes in numbers["counts"].get("missing_values", {}).items()
            for cause, number in causes.items()
        ],
        same=_same_as_own(numbers["agreement"]),
        agreement=_heat(numbers["agreement"]["same_chosen"]),
        annotators=annotators_table(numbers["annotators"]) if "annotators" in numbers else None,
        truth=_truth_table(numbers["truth"]) if numbers["truth"] else None,
        figures=figures,
        samples=summary.samples,
    )


def rejected_words(rejected: Mapping[str, Any]) -> str:
    """Return which response is rejected: its place, by another score where one orders them."""
    by = f" by {rejected['score']}" if rejected["score"] else ""
    return f"{rejected['place'] or rejected['name']}{by}"


def _figures(summary: Summary) -> dict[str, tuple[Figure, str]]:
    """Return each plot with what it shows in words."""
    numbers = summary.numbers
    models = _most(numbers["models"], ("chosen_share", "rejected_share"))
    figures = {
        "margins": (
            pictures.histogram(summary.margins, "chosen minus rejected score, score points"),
            "Histogram of the margins",
        ),
        "lengths": (
            pictures.histogram(summary.differences, "chosen minus rejected length, characters", pictures.REJECTED),
            "Histogram of chosen minus rejected length",
        ),
        "models": (
            pictures.shares_plot(models, {"chosen_share": "chosen", "rejected_share": "rejected"}),
            "Share of each model among chosen and rejected responses",
        ),
    }
    if len(numbers["sources"]) > 1:
        sources = pictures.shares_plot(_most(numbers["sources"], ("share",)), {"share": "pairs"})
        figures["sources"] = (sources, "Share of each source among the pairs")
    return figures


def _same_as_own(found: StrategyAgreement) -> list[float]:
    """Return the shares of prompts on which the other strategies choose the run's own response, ascending."""
    own = found["strategies"].index(found["own"])
    shares = (share for place, share in enumerate(found["same_chosen"][own]) if place != own)
    return sorted(share for share in shares if share is not None)


def _heat(shares: Sequence[Sequence[float | None]]) -> list[list[tuple[str, str] | None]]:
    """Return each share in percent with the opacity behind it."""
    return [
        [None if one is None else (f"{100 * one:.0f}", f"{SHADE * one * one:.2f}") for one in row] for row in shares
    ]


def _truth_table(found: Mapping[str, StrategyTruth]) -> dict[str, Any]:
    """Return how often each strategy is right, in percent, each measure drawn on one scale for all strategies."""
    percents = {name: [percent(measured) for measured in (row["best"], row["better"])] for name, row in found.items()}
    scale = scale_of([one for row in percents.values() for one in row], origin=None)
    columns = (("truly the best", CHOSEN_LOOK), ("truly better than the rejected", PAIR_LOOK))
    rows = [
        (
            name,
            [
                (strip(one, scale, look, f"{name}, {words}: {span_of(one)} %"), span_of(one))
                for one, (words, look) in zip(row, columns, strict=True)
            ],
            found[name]["best"]["n"],
        )
        for name, row in percents.items()
    ]
    return {"axis": axis(scale), "columns": [words for words, _ in columns], "rows": rows}


def _model_shares(pairs: pl.DataFrame) -> list[ModelShare]:
    """Return per model how many chosen and rejected responses are its own, the most chosen first."""
    parts = [
        pairs.group_by(name=f"{role}_model").agg(pl.len().cast(pl.Int64).alias(role)) for role in ("chosen", "rejected")
    ]
    table = parts[0].join(parts[1], on="name", how="full", coalesce=True).fill_null(0)
    table = table.with_columns((pl.col(role) / pairs.height).alias(f"{role}_share") for role in ("chosen", "rejected"))
    return cast(list[ModelShare], table.sort([-pl.col("chosen"), "name"]).to_dicts())


def _source_shares(pairs: pl.DataFrame) -> list[SourceShare]:
    """Return per source how many pairs are from it, the largest first (a pair's two responses share their source)."""
    table = pairs.group_by(name="source").agg(pairs=pl.len().cast(pl.Int64))
    table = table.with_columns(share=pl.col("pairs") / pairs.height)
    return cast(list[SourceShare], table.sort([-pl.col("pairs"), "name"]).to_dicts())


def _distribution(values: np.ndarray) -> dict[str, float]:
    """Return mean, standard deviation and quantiles of numbers of shape (n,)."""
    cuts = dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))
    return {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0, **cuts}


def _samples(comparison: StrategyComparison) -> list[dict[str, Any]]:
    """Return ten prompts whose chosen text differs between strategies, picked by a hash of the prompt id."""
    numbers = range(len(comparison.labels))
    keys = [f"key_{number}" for number in numbers]
    different = pl.concat_list(keys).list.drop_nulls().list.n_unique() > 1
    differing = comparison.choices.filter(different) if keys else comparison.choices.clear()
    order = np.argsort(uniform(differing["prompt_id"], 0, "samples"), kind="stable")[:SAMPLES]
    return [_sample(comparison, row) for row in differing[order.tolist()].iter_rows(named=True)]


def _sample(comparison: StrategyComparison, choice: dict[str, Any]) -> dict[str, Any]:
    """Return one prompt with each response that some strategy chooses, by whom, and its score under each."""
    chosen: dict[int, list[str]] = {}
    for number, label in enumerate(comparison.labels):
        if choice[f"chosen_{number}"] is not None:
            chosen.setdefault(choice[f"chosen_{number}"], []).append(label)
    scores = comparison.scores.filter(pl.col("at").is_in(list(chosen)))
    by_place = {row["at"]: row for row in scores.iter_rows(named=True)}
    rows = {place: comparison.table.row(place, named=True) for place in chosen}
    first = rows[next(iter(rows))]
    turns = [*first.get(CONTEXT, ()), {"role": "user", "content": first["instruction"]}]
    return {
        "row": first["row"],
        "source": first["source"],
        "prompt": as_read(turns, PROMPT_CHARS),
        "responses": [
            {
                "chosen_by": labels,
                "model": rows[place]["model"],
                "completion": rows[place]["completion"],
                "text": cut(rows[place]["response"], RESPONSE_CHARS),
                "scores": {label: by_place[place][f"score_{number}"] for number, label in enumerate(comparison.labels)},
                "latent": rows[place].get(LATENT),
            }
            for place, labels in chosen.items()
        ],
    }


def _most(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Return the first `MOST_BARS` rows and, where there are more, the sum of the rest as one."""
    if len(rows) <= MOST_BARS:
        return rows
    rest = rows[MOST_BARS - 1 :]
    gathered = {key: sum(row[key] for row in rest) for key in keys}
    return [*rows[: MOST_BARS - 1], {"name": f"{len(rest)} others", **gathered}]


def _plain(value: Any) -> Any:
    """Return settings as JSON values: members of an enumeration become their names."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.name if isinstance(value, Enum) else value


def _rounded(value: Any) -> Any:
    """Round to six decimals: sums over threads differ in their last bits, and a file should be the same each time."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
