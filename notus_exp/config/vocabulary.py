"""The words of the language of expressions, by sqlglot's names of their nodes, and what to write in place of others."""

from __future__ import annotations

PAGE = "docs/language.md lists what there is"
NUMBERS = ("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Pow", "Abs", "Sqrt", "Exp", "Ln", "Round", "Floor", "Ceil",
           "Sign", "Greatest", "Least", "Nullif")  # fmt: skip
"""What makes a number of numbers, by sqlglot's names of nodes."""
ORDERS = ("GT", "GTE", "LT", "LTE", "Between")
"""What makes a condition of numbers."""
EQUALS = ("EQ", "NEQ", "In")
"""What makes a condition of two or more of one kind."""
AGGREGATES = (
    "Avg",
    "Sum",
    "Min",
    "Max",
    "Count",
    "Stddev",
    "StddevSamp",
    "StddevPop",
    "Variance",
    "Median",
    "Quantile",
)
"""What makes one value of a prompt's completions."""
RANKS = ("Rank", "DenseRank", "PercentRank")
"""What places a completion within its prompt; written with OVER (ORDER BY ...)."""
NAMED = ("MEAN_OF", "WEIGHTED_MEAN_OF", "STDDEV_OF")
"""Functions that SQL does not have: over several columns of one completion, passing over what is missing."""
WRITTEN = ("ABS", "SQRT", "EXP", "LN", "POWER", "MOD", "ROUND", "FLOOR", "CEIL", "SIGN", "GREATEST", "LEAST", "NULLIF",
           "COALESCE", "IF", *NAMED, "AVG", "SUM", "MIN", "MAX", "COUNT", "STDDEV", "STDDEV_POP", "VARIANCE", "MEDIAN",
           "QUANTILE", "RANK", "DENSE_RANK", "PERCENT_RANK")  # fmt: skip
"""The functions as they are written."""
INSTEAD = {
    "Cast": "numbers and texts are not converted: a score is a number already",
    "Alias": "an expression has no name: leave out what stands behind it",
    "Explode": "an expression has one value for each completion",
    "Unnest": "an expression has one value for each completion",
    "Star": "name the column, such as COUNT(overall)",
    "Rand": "write selection.place=random or rejected.place=random",
    "Block": "write one expression",
    "Filter": "write CASE within it, such as AVG(CASE WHEN model <> 'gpt-4' THEN overall END)",
    "Distinct": "aggregates take every completion",
    "Subquery": "an expression reads one prompt; aggregates such as AVG(overall) are over its completions",
}
"""What to write instead of a node that is not in the language."""
