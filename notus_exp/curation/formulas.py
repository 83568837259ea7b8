"""Expressions of the language (config/language.py) given their values, for the completions of every prompt at once.

Every number is a Float64 that is finite or missing: what comes out as an infinity or NaN is missing from there on, and
why is remembered; no comparison is true of it. Float noise decides nothing, on any scale (rounding.py): two numbers,
bare columns too, are equal where they differ by no more than noise of what was added up in them, and a number is
rounded to the digits that count where it is ranked, cut to a whole one or given back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.expression_trees import literal_number, operands
from notus_exp.config.vocabulary import AGGREGATES, RANKS
from notus_exp.curation.rounding import NOISE, largest, settled, significant, without_noise

OUT_OF_RANGE = "out_of_range"
CAUSES = ("division_by_zero", "zero_by_zero", OUT_OF_RANGE, "missing_input")
"""Why a value is missing, in the order in which a value is charged: x/0; 0/0, as in a score without spread; a function
outside of its range or beyond the largest number; nothing to compute with."""

_SETTLED = ("Avg", "Sum", "Median", "Quantile", "Stddev", "StddevSamp", "StddevPop")
"""Aggregates in which the numbers of a prompt are added up or subtracted."""

_SUMS = ("Add", "Sub", "Mul", "Neg")
"""What has the noise of all that is added up in it; what stands in parentheses is read before."""


class FormulaValues(NamedTuple):
    """The values of an expression: Float64 or Boolean, null where missing, and how many are missing by each cause."""

    values: pl.Series
    missing: dict[str, int]


class PromptColumns(NamedTuple):
    """Where an expression's columns come from.

    Attributes:
        column: Gives the values of a column by its name, shape (n,): Float64 finite or null, or String.
        groups: Which prompt each of the n rows is of.
        of_prompt: Of pairs: the completions, within which aggregates are taken; None where the rows are completions.
        at: Of pairs: place of each pair's chosen completion among those completions.
    """

    column: Callable[[str], pl.Series]
    groups: pl.Series
    of_prompt: PromptColumns | None = None
    at: pl.Series | None = None


def evaluate(tree: Any, cells: PromptColumns) -> FormulaValues:
    """Give a checked expression its values.

    Args:
        tree: What `language.read` returned.
        cells: Its columns.
    """
    reading = _Reading(cells)
    values = significant(reading.value(tree))
    missing = values.is_null()
    counts: dict[str, int] = {}
    for cause in CAUSES:
        here = missing & reading.faults[cause] if cause in reading.faults else missing
        if cause in reading.faults or cause == CAUSES[-1]:
            counts[cause] = int(here.sum())
            missing = missing & ~here
    return FormulaValues(values, {cause: number for cause, number in counts.items() if number})


class _Reading:
    """Gives each node its values, and keeps where something went out of the numbers."""

    def __init__(self, cells: PromptColumns) -> None:
        self.cells = cells
        self.size = len(cells.groups)
        self.faults: dict[str, pl.Series] = {}

    def value(self, node: Any) -> pl.Series:
        """Return the values of a node, shape (n,): finite or null."""
        name = type(node).__name__
        if name in AGGREGATES:
            return self._aggregate(node)
        if name == "Paren":
            return self.value(node.this)
        if name in _SUMS:
            return settled(*self.sum(node))
        return _READERS[name](self, node)

    def sum(self, node: Any) -> tuple[pl.Series, pl.Series]:
        """Return a number as it comes out, and the largest of what was added up in it: its noise is a share of that."""
        name = type(node).__name__
        if name in ("Paren", "Neg"):
            values, larger = self.sum(node.this)
            return (-values if name == "Neg" else values), larger
        if name in ("Add", "Sub"):
            (one, first), (other, second) = self.sum(node.this), self.sum(node.expression)
            return self.finite(one + other if name == "Add" else one - other), largest([first, second])
        if name == "Mul":
            (one, first), (other, second) = self.sum(node.this), self.sum(node.expression)
            return self.finite(one * other), largest([first * other, one * second])
        values = self.value(node)
        return values, values.abs() if values.dtype == pl.Float64 else values

    def below(self, node: Any) -> list[pl.Series]:
        return [self.value(operand) for operand in operands(node)]

    def finite(self, values: pl.Series) -> pl.Series:
        """Make what is no finite number missing, and remember where that was."""
        wrong = values.is_finite().not_().fill_null(value=False)
        if wrong.any():
            self.fault(OUT_OF_RANGE, wrong)
            return values.set(wrong, None)
        return values

    def fault(self, cause: str, where: pl.Series) -> None:
        self.faults[cause] = self.faults[cause] | where if cause in self.faults else where

    def divided(self, node: Any) -> pl.Series:
        above, below = self.below(node)
        by_zero = (below == 0).fill_null(value=False)
        values = significant(above) % significant(below) if type(node).__name__ == "Mod" else above / below
        if by_zero.any():
            nothing = (above == 0).fill_null(value=False)
            self.fault("zero_by_zero", by_zero & nothing)
            self.fault("division_by_zero", by_zero & ~nothing & above.is_not_null())
            values = values.set(by_zero, None)
        return self.finite(values)

    def _aggregate(self, node: Any) -> pl.Series:
        """Take an aggregate over each prompt, from the completions where the rows are pairs."""
        cells = self.cells
        if cells.of_prompt is not None and cells.at is not None:
            inner = _Reading(cells.of_prompt)
            found = inner._aggregate(node)
            for cause, where in inner.faults.items():
                self.fault(cause, where.gather(cells.at))
            return found.gather(cells.at)
        share = literal_number(node.args.get("quantile"))
        values = self.value(node.this)
        larger = values
        if values.dtype == pl.Float64:
            values, larger = self.sum(node.this)
        frame = pl.DataFrame({"group": cells.groups, "value": values, "larger": larger})
        found = frame.select(_aggregation(type(node).__name__, share).over("group")).to_series().cast(pl.Float64)
        if type(node).__name__ in _SETTLED:
            found = settled(found, frame.select(pl.col("larger").max().over("group")).to_series())
        if type(node).__name__ in ("Stddev", "StddevSamp", "Variance"):
            self.fault("zero_by_zero", frame.select(pl.col("value").count().over("group") == 1).to_series())
        return self.finite(found)

    def rank(self, node: Any) -> pl.Series:
        """Place completions within their prompt; one whose order is missing has no place."""
        ordered = node.args["order"].expressions[0]
        values = significant(self.value(ordered.this))
        frame = pl.DataFrame({"group": self.cells.groups, "value": values})
        down = bool(ordered.args.get("desc"))
        place = pl.col("value").rank("dense" if type(node.this).__name__ == "DenseRank" else "min", descending=down)
        if type(node.this).__name__ == "PercentRank":
            others = pl.col("value").count() - 1
            place = (place - 1) / pl.when(others > 0).then(others).otherwise(1)
        return frame.select(place.over("group")).to_series().cast(pl.Float64)

    def window(self, node: Any) -> pl.Series:
        return self.rank(node) if type(node.this).__name__ in RANKS else self._aggregate(node.this)

    def sums(self, node: Any) -> list[tuple[pl.Series, pl.Series]]:
        """Return `sum` of each operand, each read once."""
        return [self.sum(operand) for operand in operands(node)]

    def case(self, node: Any) -> pl.Series:
        """Take the first branch whose condition is true; a missing condition is not."""
        branches = node.args["ifs"] if type(node).__name__ == "Case" else [node]
        last = node.args.get("default") or node.args.get("false")
        parts = [(self.value(branch.this), self.value(branch.args["true"])) for branch in branches]
        chain: Any = pl
        for condition, then in parts:
            chain = chain.when(condition).then(pl.lit(then))
        other = pl.lit(self.value(last)) if last is not None else pl.lit(None)
        return pl.select(chain.otherwise(other)).to_series()

    def named(self, node: Any) -> pl.Series:
        name = str(node.this).upper()
        given = list(operands(node))
        if name == "WEIGHTED_MEAN_OF":
            weights = [literal_number(weight) or 0.0 for weight in given[1::2]]
            taken = zip(given[::2], weights, strict=True)
            used = [(self.sum(value), weight) for value, weight in taken if weight > 0]
            total = pl.sum_horizontal([pl.lit(values) * weight for (values, _), weight in used])
            sums = pl.sum_horizontal([pl.lit(values).is_not_null() * pl.lit(weight) for (values, _), weight in used])
            return self._of(pl.when(sums > 0).then(total / sums), [larger for (_, larger), _ in used])
        columns = [self.sum(one) for one in given]
        values = [pl.lit(one) for one, _ in columns]
        spread = pl.concat_list(values).list.drop_nulls().list.std()
        return self._of(pl.mean_horizontal(values) if name == "MEAN_OF" else spread, [larger for _, larger in columns])

    def _of(self, values: pl.Expr, parts: list[pl.Series]) -> pl.Series:
        larger = largest(parts)
        return settled(without_noise(self.finite(pl.select(values).to_series()), larger), larger)

    def constant(self, value: Any, kind: Any) -> pl.Series:
        return pl.repeat(value, self.size, dtype=kind, eager=True)


def _aggregation(name: str, share: float | None) -> pl.Expr:
    """Return an aggregate of `value`, in which `larger` was added up.

    Values that are all equal have exactly their mean and no spread, whatever their sum is.
    """
    value = pl.col("value")
    equal = value.max() - value.min() <= NOISE * pl.col("larger").max()
    deviation = pl.when(equal & (value.count() > 1)).then(0.0)
    ways: dict[str, Callable[[], pl.Expr]] = {
        "Avg": lambda: pl.when(equal).then(value.min()).otherwise(value.mean()),
        "Sum": lambda: pl.when(value.count() > 0).then(value.sum()),
        "Min": value.min,
        "Max": value.max,
        "Count": value.count,
        "Stddev": lambda: deviation.otherwise(value.std()),
        "StddevSamp": lambda: deviation.otherwise(value.std()),
        "StddevPop": lambda: pl.when(equal).then(0.0).otherwise(value.std(ddof=0)),
        "Variance": lambda: deviation.otherwise(value.var()),
        "Median": value.median,
        "Quantile": lambda: value.quantile(share or 0.0, "linear"),
    }
    return ways[name]()


def _pattern(text: str) -> str:
    """Return a LIKE pattern as a regular expression for the whole text."""
    signs = {"%": ".*", "_": "."}
    return "(?s)^" + "".join(signs.get(sign) or _escaped(sign) for sign in text) + "$"


def _escaped(sign: str) -> str:
    return sign if sign.isalnum() else f"\\x{{{ord(sign):x}}}"


def _like(reading: _Reading, node: Any) -> pl.Series:
    ignoring = "(?i)" if type(node).__name__ == "ILike" else ""
    return _negated(node, reading.value(node.this).str.contains(ignoring + _pattern(node.expression.name)))


def _negated(node: Any, values: pl.Series) -> pl.Series:
    return ~values if node.args.get("negate") else values


def _is(reading: _Reading, node: Any) -> pl.Series:
    return _negated(node, reading.value(node.this).is_null())


def _against(one: tuple[pl.Series, pl.Series], other: tuple[pl.Series, pl.Series]) -> tuple[pl.Series, pl.Series]:
    """Return two values to compare; numbers as their difference, 0 where it is no more than noise, and as 0."""
    (first, larger), (second, larger_other) = one, other
    if first.dtype != pl.Float64:
        return first, second
    difference = without_noise(first - second, largest([larger, larger_other]))
    return difference, pl.repeat(0.0, len(difference), eager=True)


def _in(reading: _Reading, node: Any) -> pl.Series:
    value, *listed = reading.sums(node)
    found = pl.repeat(False, reading.size, dtype=pl.Boolean, eager=True)
    for other in listed:
        one, second = _against(value, other)
        found = found | (one == second)
    return _negated(node, found)


def _between(reading: _Reading, node: Any) -> pl.Series:
    value, low, high = reading.sums(node)
    (above, zero), (below, _) = _against(value, low), _against(value, high)
    return (above >= zero) & (below <= zero)


def _folded(function: Callable[[pl.Series, pl.Series], pl.Series]) -> Callable[[_Reading, Any], pl.Series]:
    return lambda reading, node: function(*reading.below(node))


def _counted(function: Callable[[pl.Series, pl.Series], pl.Series]) -> Callable[[_Reading, Any], pl.Series]:
    return lambda reading, node: reading.finite(function(*reading.below(node)))


def _compared(function: Callable[[pl.Series, pl.Series], pl.Series]) -> Callable[[_Reading, Any], pl.Series]:
    return lambda reading, node: function(*_against(*reading.sums(node)))


def _single(function: Callable[[pl.Series], pl.Series]) -> Callable[[_Reading, Any], pl.Series]:
    return lambda reading, node: reading.finite(function(reading.value(node.this)))


def _across(function: Callable[[list[pl.Expr]], pl.Expr]) -> Callable[[_Reading, Any], pl.Series]:
    return lambda reading, node: pl.select(function([pl.lit(one) for one in reading.below(node)])).to_series()


def _literal(reading: _Reading, node: Any) -> pl.Series:
    if node.is_string:
        return reading.constant(node.name, pl.String)
    return reading.constant(literal_number(node), pl.Float64)


def _round(reading: _Reading, node: Any) -> pl.Series:
    return significant(reading.value(node.this)).round(int(literal_number(node.args.get("decimals")) or 0))


def _nullif(reading: _Reading, node: Any) -> pl.Series:
    value, other = reading.sums(node)
    one, second = _against(value, other)
    return settled(*value).set((one == second).fill_null(value=False), None)


_READERS: Mapping[str, Callable[[_Reading, Any], pl.Series]] = {
    "Column": lambda reading, node: reading.cells.column(node.name),
    "Literal": _literal,
    "Boolean": lambda reading, node: reading.constant(node.this, pl.Boolean),
    "Null": lambda reading, node: reading.constant(None, pl.Null),
    "Window": lambda reading, node: reading.window(node),
    "Anonymous": lambda reading, node: reading.named(node),
    **dict.fromkeys(("Case", "If"), lambda reading, node: reading.case(node)),
    **dict.fromkeys(("Div", "Mod"), lambda reading, node: reading.divided(node)),
    "Pow": _counted(lambda a, b: a**b),
    "Abs": _single(lambda a: a.abs()),
    "Sqrt": _single(lambda a: a.sqrt()),
    "Exp": _single(lambda a: a.exp()),
    "Ln": _single(lambda a: a.log()),
    "Floor": _single(lambda a: significant(a).floor()),
    "Ceil": _single(lambda a: significant(a).ceil()),
    "Sign": _single(lambda a: significant(a).sign()),
    "Round": _round,
    "Greatest": _across(pl.max_horizontal),
    "Least": _across(pl.min_horizontal),
    "Coalesce": _across(pl.coalesce),
    "Nullif": _nullif,
    "And": _folded(lambda a, b: a & b),
    "Or": _folded(lambda a, b: a | b),
    "Not": lambda reading, node: ~reading.value(node.this),
    "EQ": _compared(lambda a, b: a == b),
    "NEQ": _compared(lambda a, b: a != b),
    "GT": _compared(lambda a, b: a > b),
    "GTE": _compared(lambda a, b: a >= b),
    "LT": _compared(lambda a, b: a < b),
    "LTE": _compared(lambda a, b: a <= b),
    "Between": _between,
    "In": _in,
    "Is": _is,
    **dict.fromkeys(("Like", "ILike"), _like),
}
"""Node -> what gives its values; aggregates and `_SUMS` apart, the nodes of `language._KINDS`."""
