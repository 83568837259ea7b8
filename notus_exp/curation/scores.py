"""Selection strategies: each is a score that every completion is given, written in the language; the highest is chosen.

That the data has the ratings which a strategy scores by is checked with the config (`curation_checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from notus_exp.config.column_names import NUMBER, completion_columns, own_columns
from notus_exp.config.curation_settings import Selection
from notus_exp.config.language import Scope, bare, read
from notus_exp.curation.columns import OVERALL, cells_of, check_aspects, joined_names, mean_rating, rating
from notus_exp.curation.formulas import FormulaValues, evaluate
from notus_exp.errors import UserError, did_you_mean

CRITIQUE = "critique"
AVERAGE = "average"
WEIGHTED = "weighted"
CONTROLS = ("random", "reversed")
"""Selections whose labels are wrong on purpose; their pairs are the average's, or the critique's without ratings."""

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


def written(selection: Selection, aspects: Sequence[str]) -> str:
    """Return the score by which a selection orders completions, in the language.

    Args:
        selection: Its own `score` where it is given, else that of its name. `critique`: the overall score. `average`:
            the mean of the non-null ratings. `per_aspect`: the rating of `selection.aspect`. `weighted`:
            sum(w r) / sum(w) over the non-null ratings r with weights `selection.weights`. `random` and `reversed`: the
            average, or the overall score where there are no ratings; `labels.relabel` exchanges sides afterwards.
        aspects: The aspects with a rating column.

    Raises:
        UserError: For an unknown strategy without a score.
    """
    if selection.score is not None:
        return selection.score
    aspect = selection.aspect or ""
    weights = [f"{quoted(name)}, {weight!r}" for name, weight in selection.weights.items() if weight > 0]
    presets = {
        CRITIQUE: "overall",
        AVERAGE: "average",
        "per_aspect": aspect if bare(aspect) else quoted(aspect),
        WEIGHTED: f"WEIGHTED_MEAN_OF({', '.join(weights)})",
        **dict.fromkeys(CONTROLS, "average" if aspects else "overall"),
    }
    if selection.name not in presets:
        raise UserError(f"selection.name is '{selection.name}'", did_you_mean(selection.name, presets))
    return presets[selection.name]


def quoted(name: str) -> str:
    """Return a column's name as it stands in an expression, whatever signs are in it."""
    return '"' + name.replace('"', '""') + '"'


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
            values = cells.column(text)
            return FormulaValues(values, {"missing_input": values.null_count()} if values.null_count() else {})
        return evaluate(read(text, Scope(key, kinds), NUMBER), cells)

    return score


def selected(selection: Selection, aspects: Sequence[str]) -> ScoreRule:
    """Return the score by which a selection orders completions."""
    return formula(written(selection, aspects), aspects)


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
