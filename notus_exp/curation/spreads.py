"""Do ratings count alike in their mean? A mean of ratings on different scales is the widest one's choice."""

from __future__ import annotations

import math

import polars as pl

from notus_exp.curation.columns import rating
from notus_exp.curation.scores import AVERAGE, WEIGHTED
from notus_exp.stages.settings import PairsSettings

MOST_RATIO = 5.0
"""Times that one rating may spread as wide as another before a mean of both is remarked on."""

_KEY = ["prompt_id", "row"]


def spread_notes(completions: pl.DataFrame, spec: PairsSettings, pairs: pl.DataFrame) -> list[str]:
    """Say that the selection takes the mean of ratings whose spreads differ more than `MOST_RATIO`-fold.

    A spread is the standard deviation within prompts, which alone moves a choice, times the rating's weight.

    Args:
        completions: The table that was curated.
        spec: The settings; a selection that takes no mean has no note.
        pairs: What was made of it.

    Returns:
        One sentence, or none.
    """
    weights = _weights(spec)
    spreads = {aspect: _within(completions, aspect) * weight for aspect, weight in weights.items()}
    known = {aspect: spread for aspect, spread in spreads.items() if math.isfinite(spread)}
    if len(known) < 2:
        return []
    wide, narrow = max(known, key=lambda one: known[one]), min(known, key=lambda one: known[one])
    if known[wide] <= MOST_RATIO * known[narrow]:
        return []
    listed = ", ".join(f"{aspect} {spread:.3g}" for aspect, spread in known.items())
    weighted = "" if spec.selection.name == AVERAGE else ", times their weights,"
    return [
        f"selection={spec.selection.name} takes the mean of ratings whose spreads within a prompt{weighted} differ more"
        f" than {MOST_RATIO:g}-fold: {listed}. The widest decides: the response with the highest {wide} is chosen in"
        f" {100 * _followed(completions, pairs, wide):.0f} % of the pairs"
    ]


def _weights(spec: PairsSettings) -> dict[str, float]:
    if spec.selection.name == AVERAGE:
        return dict.fromkeys(spec.aspects, 1.0)
    weights = spec.selection.weights if spec.selection.name == WEIGHTED else {}
    return {aspect: weight for aspect, weight in weights.items() if weight > 0}


def _within(completions: pl.DataFrame, aspect: str) -> float:
    """Return the pooled standard deviation of a rating within prompts; NaN where no prompt has two."""
    known = completions.select(*_KEY, value=pl.col(rating(aspect)).cast(pl.Float64).fill_nan(None)).drop_nulls("value")
    by_prompt = known.group_by(_KEY).agg(n=pl.len(), variance=pl.col("value").var()).filter(pl.col("n") > 1)
    degrees = float((by_prompt["n"] - 1).sum()) if by_prompt.height else 0.0
    if not degrees:
        return math.nan
    return math.sqrt(float(((by_prompt["n"] - 1) * by_prompt["variance"]).sum()) / degrees)


def _followed(completions: pl.DataFrame, pairs: pl.DataFrame, aspect: str) -> float:
    """Return the share of pairs whose chosen response has the prompt's highest rating by an aspect."""
    rated = completions.select(*_KEY, "completion", value=pl.col(rating(aspect)).cast(pl.Float64).fill_nan(None))
    top = rated.group_by(_KEY).agg(top=pl.col("value").max())
    chosen = pairs.select(*_KEY, completion="chosen_completion").join(rated, on=[*_KEY, "completion"], how="left")
    both = chosen.join(top, on=_KEY, how="left")
    return both.filter(pl.col("value") == pl.col("top")).height / both.height
