"""How far annotators agree with each other, with the labellings of the data and with the truth: for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.contracts.annotator_file import AnnotatorFile, Leaning, read_annotator
from notus_exp.contracts.curation_file import AnnotatorFound, AnnotatorsFound
from notus_exp.curation.columns import NAMED, rating
from notus_exp.curation.comparisons import TIE, CompletionPairs, groups_of, outcomes, pairs_of_completions, rank_alpha
from notus_exp.curation.scores import labelled, labellings
from notus_exp.curation.strategies import LATENT
from notus_exp.disk.files import ANNOTATOR_JSON, COLUMNS
from notus_exp.inference.estimates import mean_estimate
from notus_exp.stages.settings import ANNOTATED

GOLD = "gold"
"""Name of the labelling that is taken for the truth: the true quality of simulated data, or a column of that name."""


def annotators_found(
    completions: pl.DataFrame, aspects: Sequence[str], inputs: Mapping[str, Path], pairs: int
) -> AnnotatorsFound | None:
    """Return what is known of the annotators of a curation; None where there are none.

    Args:
        completions: The table that was curated, with the columns that expressions name.
        aspects: The aspects with a rating column.
        inputs: Those of the stage, of which `annotations_NAME` are annotators'.
        pairs: How many pairs were kept.
    """
    folders = [inputs[name] for name in sorted(inputs) if name.startswith(ANNOTATED)]
    if not folders:
        return None
    told = [read_annotator(folder / ANNOTATOR_JSON) for folder in folders]
    both = zip(told, folders, strict=True)
    values = {one["name"]: annotator_values(completions, folder, one["name"]) for one, folder in both}
    own = [*values]
    for name in labellings(aspects):
        labelling = _numbers(labelled(name, aspects)(completions).values)
        if name != GOLD and not np.isnan(labelling).all():
            values[name] = labelling
    gold = gold_of(completions)
    if gold is not None:
        values[GOLD] = gold
    compared = pairs_of_completions(groups_of(completions))
    found = {
        tuple(sorted(names)): rank_alpha(compared, *(values[name] for name in names))
        for names in combinations_with_replacement(values, 2)
    }
    alphas = [[found[tuple(sorted((one, other)))] for other in values] for one in values]
    return {
        "annotators": [annotator_found(one, values[one["name"]], gold, compared, pairs) for one in told],
        "labellings": [*values],
        "own": own,
        "alpha": [[None if math.isnan(alpha) else alpha for alpha, _ in row] for row in alphas],
        "common_prompts": [[number for _, number in row] for row in alphas],
    }


def annotator_found(
    told: AnnotatorFile,
    values: NDArray[np.float64],
    gold: NDArray[np.float64] | None,
    compared: CompletionPairs,
    pairs: int,
) -> AnnotatorFound:
    """Return what is known of one annotator.

    Args:
        told: Its annotator.json.
        values: Its value of each completion, NaN where it has none.
        gold: What is taken for the truth; None where nothing is.
        compared: Every two completions of a prompt.
        pairs: How many pairs were kept.
    """
    agrees = None
    if gold is not None:
        agrees = _agrees(compared, outcomes(compared, values), outcomes(compared, gold))
    usd = told["usd"]
    return {
        "told": told,
        "agrees_with_gold": agrees,
        "usd_per_pair": usd / pairs if usd is not None and pairs else None,
    }


def _agrees(pairs: CompletionPairs, won: NDArray[np.float64], truly: NDArray[np.float64]) -> Leaning:
    """Return in what share of the comparisons that the truth decides the same one wins; a tie counts a half."""
    counts = (truly != TIE) & ~np.isnan(truly) & ~np.isnan(won)
    same = np.where(truly == 1, won, 1 - won)[counts]
    estimate = mean_estimate(same, clusters=pairs.group[counts].tolist(), span=(0.0, 1.0))
    value, low, high = (None if math.isnan(one) else one for one in estimate[:3])
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def annotator_values(completions: pl.DataFrame, folder: Path, name: str) -> NDArray[np.float64]:
    """Return an annotator's values in the order of the completions, NaN where there is none."""
    by = ["row", "completion"]
    made = pl.read_parquet(folder / COLUMNS, columns=[*by, name], glob=False)
    return _numbers(completions.select(by).join(made, on=by, how="left", maintain_order="left")[name])


def gold_of(completions: pl.DataFrame) -> NDArray[np.float64] | None:
    """Return what is taken for the truth, None where nothing is."""
    for name in (rating(GOLD), NAMED + GOLD, LATENT):
        if name in completions.columns:
            return _numbers(completions[name])
    return None


def _numbers(values: pl.Series) -> NDArray[np.float64]:
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy()
