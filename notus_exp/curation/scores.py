"""Selection strategies: each is an expression that gives every completion a score; the highest is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from notus_exp.config.schema import Selection
from notus_exp.curation.columns import OVERALL, check_aspects, mean_rating, rating
from notus_exp.errors import UserError, did_you_mean

CRITIQUE = "critique"
AVERAGE = "average"
DECIMALS = 9
"""Weighted means are rounded to this, so that sums in another order do not break an exact tie."""


def labellings(aspects: Sequence[str]) -> list[str]:
    """Return the names of the scorings that data with these aspects can be labelled by.

    Raises:
        UserError: If an aspect has the name of another labelling.
    """
    for name in (CRITIQUE, AVERAGE):
        if name in aspects:
            raise UserError(
                f"data.aspects has an aspect named '{name}'", f"'{name}' is a strategy's name: rename the column"
            )
    return [CRITIQUE, AVERAGE, *aspects]


def labelling_expr(name: str, aspects: Sequence[str]) -> pl.Expr:
    """Return the score (Float64, null where missing) of a completion under a labelling.

    Args:
        name: `critique` (the overall score as the table has it), `average` (mean of the non-null ratings of
            `aspects`) or one of the aspects.
        aspects: The aspects with a rating column.

    Raises:
        UserError: For any other name.
    """
    known = labellings(aspects)
    if name not in known:
        raise UserError(f"'{name}' is no way to score this feedback", f"known: {', '.join(known)}")
    if name == CRITIQUE:
        score = pl.col(OVERALL)
    elif name == AVERAGE:
        score = mean_rating(aspects)
    else:
        score = pl.col(rating(name))
    return score.cast(pl.Float64).fill_nan(None)


def score_expr(selection: Selection, aspects: Sequence[str]) -> pl.Expr:
    """Return the score (Float64, null where missing) by which a selection strategy orders the completions.

    Args:
        selection: `critique`: the overall score. `average`: the mean of the non-null ratings. `per_aspect`: the rating
            of `selection.aspect`. `weighted`: sum(w r) / sum(w) over the non-null ratings r with
            weights `selection.weights`, null where those weights sum to 0.
        aspects: The aspects with a rating column.

    Raises:
        UserError: For an unknown strategy, aspect or weight, or data without the ratings that the strategy needs.
    """
    strategies: dict[str, Callable[[Selection, Sequence[str]], pl.Expr]] = {
        "critique": lambda selection, aspects: labelling_expr(CRITIQUE, aspects),
        "average": _average,
        "per_aspect": _per_aspect,
        "weighted": _weighted,
    }
    if selection.name not in strategies:
        raise UserError(f"selection.name is '{selection.name}'", did_you_mean(selection.name, strategies))
    return strategies[selection.name](selection, aspects)


def labelling_scores(completions: pl.DataFrame, aspects: Sequence[str]) -> pl.DataFrame:
    """Return every completion's score under every labelling.

    Args:
        completions: The completions table, one row a completion.
        aspects: The aspects with a rating column.

    Returns:
        One row a completion in the table's order: `prompt_id, row, completion` and a Float64 column per labelling.

    Raises:
        UserError: If an aspect has no rating column.
    """
    check_aspects(completions.columns, aspects)
    columns = [labelling_expr(name, aspects).alias(name) for name in labellings(aspects)]
    return completions.select("prompt_id", "row", "completion", *columns)


def _average(selection: Selection, aspects: Sequence[str]) -> pl.Expr:
    _need_ratings(selection, aspects)
    return labelling_expr(AVERAGE, aspects)


def _per_aspect(selection: Selection, aspects: Sequence[str]) -> pl.Expr:
    _need_ratings(selection, aspects)
    if selection.aspect is None or selection.aspect not in aspects:
        raise UserError(
            f"selection.aspect is '{selection.aspect}', which the feedback has no rating for",
            did_you_mean(selection.aspect or "", aspects),
        )
    return labelling_expr(selection.aspect, aspects)


def _weighted(selection: Selection, aspects: Sequence[str]) -> pl.Expr:
    _need_ratings(selection, aspects)
    _check_weights(selection.weights, aspects)
    used = {aspect: weight for aspect, weight in selection.weights.items() if weight > 0}
    ratings = {aspect: labelling_expr(aspect, aspects) for aspect in used}
    total = pl.sum_horizontal([ratings[aspect] * weight for aspect, weight in used.items()])
    weights = pl.sum_horizontal([ratings[aspect].is_not_null() * pl.lit(weight) for aspect, weight in used.items()])
    return pl.when(weights > 0).then((total / weights).round(DECIMALS))


def _check_weights(weights: dict[str, float], aspects: Sequence[str]) -> None:
    for aspect, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise UserError(
                f"selection.weights.{aspect}={weight} is out of range", "a weight is a number of at least 0"
            )
        if weight > 0 and aspect not in aspects:
            raise UserError(
                f"selection.weights names '{aspect}', which the feedback has no rating for",
                f"ratings: {', '.join(aspects)}; leave the key out with '~selection.weights.{aspect}'",
            )
    if not any(weight > 0 for weight in weights.values()):
        raise UserError("selection.weights has no weight above 0", f"set one of: {', '.join(aspects)}")


def _need_ratings(selection: Selection, aspects: Sequence[str]) -> None:
    if not aspects:
        raise UserError(
            f"selection={selection.name} needs aspect ratings, and this data has none", "use selection=critique"
        )
