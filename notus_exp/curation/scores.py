"""Selection strategies: each is a score that every completion is given, by a rule of before or in the language.

A rule of before takes its own columns of the table, by no name of the language: ratings may be called anything. That
the data has the ratings which a strategy scores by is checked with the config (`curation_checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from notus_exp.config.column_names import NUMBER, completion_columns, own_columns
from notus_exp.config.curation_settings import Selection
from notus_exp.config.expression_trees import bare
from notus_exp.config.language import Scope, read
from notus_exp.curation.columns import OVERALL, cells_of, check_aspects, joined_names, mean_rating, rating
from notus_exp.curation.formulas import OUT_OF_RANGE, FormulaValues, evaluate
from notus_exp.curation.rounding import significant
from notus_exp.errors import UserError, did_you_mean

CRITIQUE = "critique"
AVERAGE = "average"
WEIGHTED = "weighted"
CONTROLS = ("random", "reversed")
"""Selections whose labels are wrong on purpose; their pairs are the average's, or the critique's without ratings."""

DECIMALS = 9
"""Weighted means are rounded to this, as before the language, so that sums in another order do not break an exact tie.
"""

LARGEST_SCORE = 1e150
"""A score beyond it is missing: sums of squares of such numbers overflow."""
ScoreRule = Callable[[pl.DataFrame], FormulaValues]
"""Gives each row of a table of completions its score."""


def labellings(aspects: Sequence[str]) -> list[str]:
    """Return the names of the scorings that data with these aspects can be labelled by."""
    return [CRITIQUE, AVERAGE, *aspects]


def labelling_expr(name: str, aspects: Sequence[str]) -> pl.Expr:
    """Return the score (Float64, null where missing) of a completion under a labelling.

    Args:
        name: `critique` (the overall score as the table has it), `average` (mean of the non-null ratings of
            `aspects`) or one of the aspects.
        aspects: The aspects with a rating column.
    """
    if name == CRITIQUE:
        score = pl.col(OVERALL)
    elif name == AVERAGE:
        score = mean_rating(aspects)
    else:
        score = pl.col(rating(name))
    return score.cast(pl.Float64).fill_nan(None)


def labelled(name: str, aspects: Sequence[str]) -> ScoreRule:
    """Return the score of a labelling."""
    expression = labelling_expr(name, aspects)
    return lambda completions: FormulaValues(completions.select(expression).to_series(), {})


def formula(text: str, aspects: Sequence[str], key: str = "selection.score") -> ScoreRule:
    """Return what gives completions the value of an expression.

    Args:
        text: The expression.
        aspects: The aspects with a rating column.
        key: The setting that holds it.

    Raises:
        UserError: When called, for what is not in the language or names a column that the table has not.
    """

    def score(completions: pl.DataFrame) -> FormulaValues:
        names = own_columns(aspects, joined_names(completions.columns))
        kinds, cells = completion_columns(names), cells_of(completions, aspects)
        if bare(text) and kinds.get(text) == NUMBER:
            values = significant(cells.column(text))
            return FormulaValues(values, {"missing_input": values.null_count()} if values.null_count() else {})
        return _usable(evaluate(read(text, Scope(key, kinds), NUMBER), cells))

    return score


def _usable(found: FormulaValues) -> FormulaValues:
    """Make scores missing that nothing can be computed with."""
    beyond = (found.values.abs() > LARGEST_SCORE).fill_null(value=False)
    if not beyond.any():
        return found
    missing = {**found.missing, OUT_OF_RANGE: found.missing.get(OUT_OF_RANGE, 0) + int(beyond.sum())}
    return FormulaValues(found.values.set(beyond, None), missing)


def selected(selection: Selection, aspects: Sequence[str]) -> ScoreRule:
    """Return the score by which a selection orders completions.

    Args:
        selection: Its own `score` where it is given, else that of its name. `critique`: the overall score. `average`:
            the mean of the non-null ratings. `per_aspect`: the rating of `selection.aspect`. `weighted`:
            sum(w r) / sum(w) over the non-null ratings r with weights `selection.weights`, null where those weights sum
            to 0. `random` and `reversed`: the average, or the overall score where there are no ratings;
            `labels.relabel` exchanges sides afterwards.
        aspects: The aspects with a rating column.

    Raises:
        UserError: For an unknown strategy without a score, or when called, for what is wrong with its own.
    """
    if selection.score is not None:
        return formula(selection.score, aspects)
    presets = {
        CRITIQUE: CRITIQUE,
        AVERAGE: AVERAGE,
        "per_aspect": selection.aspect or "",
        **dict.fromkeys(CONTROLS, AVERAGE if aspects else CRITIQUE),
    }
    if selection.name == WEIGHTED:
        return _weighted(selection.weights, aspects)
    if selection.name not in presets:
        raise UserError(f"selection.name is '{selection.name}'", did_you_mean(selection.name, [*presets, WEIGHTED]))
    return labelled(presets[selection.name], aspects)


def _weighted(weights: Mapping[str, float], aspects: Sequence[str]) -> ScoreRule:
    used = [(labelling_expr(aspect, aspects), weight) for aspect, weight in weights.items() if weight > 0]
    total = pl.sum_horizontal([score * weight for score, weight in used])
    sums = pl.sum_horizontal([score.is_not_null() * pl.lit(weight) for score, weight in used])
    mean = pl.when(sums > 0).then((total / sums).round(DECIMALS))
    return lambda completions: FormulaValues(completions.select(mean).to_series(), {})


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
