"""The expressions of a curation's settings over its tables: which columns they name, and their values for pairs."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from notus_exp.config.column_names import own_columns, reward_margins
from notus_exp.config.expression_checks import columns_named, given_expressions, kind_wanted, scope_of
from notus_exp.config.language import read
from notus_exp.curation.columns import cells_of, joined_names, rating
from notus_exp.curation.formulas import FormulaValues, PromptColumns, evaluate
from notus_exp.curation.rounding import largest, settled
from notus_exp.stages.settings import PairsSettings

OF_PAIR = ("chosen_score", "rejected_score")
"""Numbers that a pair has of its own."""


def named_columns(spec: PairsSettings) -> set[str]:
    """Return the columns of completions that the settings' expressions name."""
    return columns_named(given_expressions(spec.selection, spec.rejected, spec.filters, spec.pairs))


def of_pairs(
    key: str, text: str, pairs: pl.DataFrame, completions: pl.DataFrame, aspects: Sequence[str]
) -> FormulaValues:
    """Give each pair the value of an expression.

    Args:
        key: The setting that holds it.
        text: The expression.
        pairs: Columns `group, chosen, rejected` (positions `at`), `chosen_score, rejected_score, margin`.
        completions: The candidates: `group, at, score` and what the expression names.
        aspects: The aspects with a rating column.

    Raises:
        UserError: For what is not in the language or names a column that the table has not.
    """
    names = own_columns(aspects, joined_names(completions.columns))
    tree, margins = read(text, scope_of(key, names), kind_wanted(key)), reward_margins(names)
    places = pl.DataFrame({"at": completions["at"]}).with_row_index("place")
    sides = {
        side: pairs.select(at=side).join(places, on="at", how="left", maintain_order="left")["place"]
        for side in ("chosen", "rejected")
    }
    inner = cells_of(completions, aspects)

    def column(name: str) -> pl.Series:
        """Return a column of the pairs by its name in the language."""
        if name == "margin":
            return _difference(pairs["chosen_score"], pairs["rejected_score"])
        if name in OF_PAIR:
            return pairs[name]
        if name == "agreement":
            return _agreement(completions, aspects, sides["chosen"], sides["rejected"])
        if name in margins:
            reward = inner.column(margins[name])
            return _difference(reward.gather(sides["chosen"]), reward.gather(sides["rejected"]))
        side, _, of_side = name.partition("_")
        return inner.column(of_side).gather(sides[side])

    return evaluate(tree, PromptColumns(column, pairs["group"], inner, sides["chosen"]))


def _difference(chosen: pl.Series, rejected: pl.Series) -> pl.Series:
    return settled(chosen - rejected, largest([chosen, rejected]))


def _agreement(completions: pl.DataFrame, aspects: Sequence[str], chosen: pl.Series, rejected: pl.Series) -> pl.Series:
    """Return the share of the ratings that prefer the chosen side, of those that differ; null where none does."""
    ratings = completions.select(pl.col(rating(aspect)).cast(pl.Float64).fill_nan(None) for aspect in aspects)
    difference = ratings.select(pl.all().gather(chosen)) - ratings.select(pl.all().gather(rejected))
    if not aspects:
        return pl.repeat(None, len(chosen), dtype=pl.Float64, eager=True)
    more, other = pl.sum_horizontal(pl.all() > 0), pl.sum_horizontal(pl.all() != 0)
    return difference.select(pl.when(other > 0).then(more / other)).to_series()
