"""The language of expressions: parsed as SQL, then held to a list of what it may be made of (docs/language.md).

An expression reads one prompt: its value for a completion, or a pair, depends on that prompt's completions alone, and
not on their order. Nothing that reads, draws, converts, names or nests a query is in it. Kinds are checked here: so
`until=config` says what is wrong before any data is read; `curation/formulas.py` gives what is checked here its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from notus_exp.config.column_names import BOOLEAN, MARGIN, NUMBER, SCORE, TEXT
from notus_exp.config.expression_trees import in_short, literal_number, operands, parsed
from notus_exp.config.score_settings import PROBE, REWARD
from notus_exp.config.vocabulary import AGGREGATES, EQUALS, INSTEAD, NAMED, NUMBERS, ORDERS, PAGE, RANKS, WRITTEN
from notus_exp.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from sqlglot.expressions import Expression

_TOLD = {"typed", "safe", "ignore_nulls", "big_int", "quoted", "is_string", "negate", "over", "nulls_first", "desc"}
"""Arguments of nodes that are no expressions and are read, or change nothing."""


class Scope(NamedTuple):
    """What an expression may name.

    Attributes:
        key: The setting that holds it.
        columns: Kind of each column.
        prompt: Kind of each column within an aggregate; None where those are `columns`.
        ranks: Whether RANK() and its like may be used: of completions, not of pairs.
    """

    key: str
    columns: Mapping[str, str]
    prompt: Mapping[str, str] | None = None
    ranks: bool = True


def read(text: str, scope: Scope, wanted: str) -> Expression:
    """Parse an expression and check all of it.

    Args:
        text: As a user wrote it.
        scope: What it may name.
        wanted: The kind that it must give.

    Raises:
        UserError: Naming the setting and what in it is not in the language, not known, or of another kind.
    """
    tree = parsed(text, scope.key)
    kind = kind_of(tree, scope)
    if kind != wanted:
        example = "write a number, such as 2 * average" if wanted == NUMBER else "write a condition, such as margin > 1"
        raise _refused(scope, f"{_shown(tree)} is a {kind}, and a {wanted} is needed", example)
    return tree


def kind_of(node: Expression, scope: Scope) -> str:
    """Return the kind of a node's value, everything below it checked.

    Raises:
        UserError: See `read`.
    """
    name = type(node).__name__
    if name not in _KINDS:
        raise _refused(scope, f"{_called(node)} is not in the language", INSTEAD.get(name, PAGE))
    for argument, value in node.args.items():
        if value and argument not in ("this", *_TOLD) and not _is_nodes(value):
            raise _refused(scope, f"{_shown(node)} has '{argument}', which is not in the language", PAGE)
    return _KINDS[name](node, scope)


def _fixed(taken: str, given: str) -> Callable[[Any, Scope], str]:
    """Return a reader of a node all of whose operands are of one kind."""

    def kind(node: Any, scope: Scope) -> str:
        """Return the kind that is given, where every operand is of the kind that is taken."""
        if not list(operands(node)):
            raise _refused(scope, f"{_shown(node)} takes a value", PAGE)
        for operand in operands(node):
            found = kind_of(operand, scope)
            if found != taken:
                raise _refused(scope, f"{_shown(operand)} is a {found}, and {_shown(node)} takes a {taken}", PAGE)
        return given

    return kind


def _one_kind(nodes: list[Any], scope: Scope, what: str) -> str:
    """Return the kind of nodes, of which there is one at least."""
    kinds = {kind_of(node, scope) for node in nodes}
    if len(kinds) > 1:
        raise _refused(scope, f"{what} mixes a {' and a '.join(sorted(kinds))}", "both sides are of one kind")
    return next(iter(kinds))


def _equal(node: Any, scope: Scope) -> str:
    if type(node).__name__ == "In" and not node.expressions:
        raise _refused(scope, f"{_shown(node)} lists no value", "write x IN ('a', 'b')")
    _one_kind(list(operands(node)), scope, _shown(node))
    return BOOLEAN


def _case(node: Any, scope: Scope) -> str:
    if node.this is not None and type(node).__name__ == "Case":
        raise _refused(scope, f"{_shown(node)} compares one value", "write CASE WHEN x = 1 THEN ... END")
    branches = node.args["ifs"] if type(node).__name__ == "Case" else [node]
    for branch in branches:
        kind = kind_of(branch.this, scope)
        if kind != BOOLEAN:
            raise _refused(scope, f"{_shown(branch.this)} is a {kind}, and WHEN takes a condition", PAGE)
    last = node.args.get("default") or node.args.get("false")
    results = [branch.args["true"] for branch in branches] + ([last] if last is not None else [])
    known = [one for one in results if type(one).__name__ != "Null"]
    if not known:
        raise _refused(scope, f"{_shown(node)} is always missing", "write a value behind one THEN or ELSE")
    return _one_kind(known, scope, _shown(node))


def _null(node: Any, scope: Scope) -> str:
    raise _refused(scope, "NULL stands behind THEN and ELSE alone", "write x IS NULL to ask what is missing")


def _is(node: Any, scope: Scope) -> str:
    if type(node.expression).__name__ != "Null":
        raise _refused(scope, f"{_shown(node)}: IS takes NULL alone", "write x IS NULL or x IS NOT NULL")
    kind_of(node.this, scope)
    return BOOLEAN


def _column(node: Any, scope: Scope) -> str:
    if node.args.get("table") is not None or type(node.this).__name__ != "Identifier":
        raise _refused(scope, f"{_shown(node)} is no column", "columns stand alone, without a table before them")
    if node.name not in scope.columns:
        raise _refused(scope, f"there is no column '{in_short(node.name)}'", _instead(node, scope))
    return scope.columns[node.name]


def _instead(node: Any, scope: Scope) -> str:
    """Return what may be meant by a name that is no column."""
    name = node.name
    near = did_you_mean(name, scope.columns)
    if node.this.args.get("quoted"):
        return f"a text stands in single quotes: '{in_short(name)}'"
    if name.endswith((f"{PROBE}{REWARD}", f"{PROBE}{MARGIN}")):
        return "did you mean that of probes? name their runs: 'scores=[{runs: [A, B]}]' (docs/language.md)"
    if name == SCORE:
        return "the selection's score is chosen_score and rejected_score of a pair, and within an aggregate over it"
    if f"chosen_{name}" in scope.columns:
        return f"of a pair write chosen_{name} or rejected_{name}, or an aggregate over its prompt"
    return near if "did you" in near else f"columns: {', '.join(scope.columns)}"


def _aggregate(node: Any, scope: Scope) -> str:
    inner = list(operands(node))
    first = inner[0] if inner else None
    if first is None or node.args.get("expressions"):
        hint = "write GREATEST(x, y) or LEAST(x, y)" if node.args.get("expressions") else PAGE
        raise _refused(scope, f"{_shown(node)}: an aggregate takes one value of each completion", hint)
    below = [type(found).__name__ for found in first.walk()]
    if any(name in AGGREGATES or name in RANKS or name == "Window" for name in below):
        raise _refused(scope, f"{_shown(node)} has an aggregate within an aggregate", "take it of plain columns")
    within = Scope(scope.key, scope.columns if scope.prompt is None else scope.prompt)
    kind = kind_of(first, within)
    if type(node).__name__ == "Count" and kind == BOOLEAN:
        hint = f"for how many it is true of write SUM(CASE WHEN {_shown(first)} THEN 1 ELSE 0 END)"
        raise _refused(scope, f"{_shown(node)} counts where the condition is known, not where it is true", hint)
    if type(node).__name__ != "Count" and kind != NUMBER:
        raise _refused(scope, f"{_shown(first)} is a {kind}, and {_called(node)} takes a number", PAGE)
    if type(node).__name__ == "Quantile":
        _check_share(inner[1] if len(inner) > 1 else None, node, scope)
    return NUMBER


def _check_share(node: Any, owner: Any, scope: Scope) -> None:
    share = literal_number(node)
    if share is None or not 0 <= share <= 1:
        raise _refused(scope, f"{_shown(owner)} needs a share from 0 to 1", "write QUANTILE(x, 0.25)")


def _window(node: Any, scope: Scope) -> str:
    """Check a window: an aggregate has none but the prompt, a rank has one order within it."""
    name, order = type(node.this).__name__, node.args.get("order")
    if node.args.get("partition_by"):
        raise _refused(scope, f"{_shown(node)} has a partition", "every window is the prompt: leave PARTITION BY out")
    if any(node.args.get(part) for part in ("spec", "alias", "first")):
        raise _refused(scope, f"{_shown(node)} has a frame or a name", PAGE)
    if name in AGGREGATES and order is None:
        return _aggregate(node.this, scope)
    if name not in RANKS:
        raise _refused(
            scope, f"{_shown(node)} is not in the language", "an aggregate takes all completions of the prompt"
        )
    if list(operands(node.this)):
        raise _refused(
            scope, f"{_shown(node.this)} ranks by what stands in OVER", "write RANK() OVER (ORDER BY average)"
        )
    if not scope.ranks:
        raise _refused(scope, f"{_shown(node)}: pairs have no ranks", "rank completions in selection.score")
    if order is None or len(order.expressions) != 1:
        raise _refused(scope, f"{_shown(node)} needs one order", "write RANK() OVER (ORDER BY average DESC)")
    ranked = order.expressions[0].this
    if any(type(found).__name__ in (*AGGREGATES, "Window") for found in ranked.walk()):
        raise _refused(scope, f"{_shown(node)} ranks by an aggregate", "rank by plain columns")
    if kind_of(ranked, scope) != NUMBER:
        raise _refused(scope, f"{_shown(ranked)} is no number to rank by", PAGE)
    return NUMBER


def _named(node: Any, scope: Scope) -> str:
    name = str(node.this).upper()
    if name not in NAMED:
        raise _refused(scope, f"there is no function '{in_short(str(node.this))}'", did_you_mean(name, WRITTEN))
    given = list(operands(node))
    if not given:
        raise _refused(scope, f"{name} takes columns", f"write {name}(helpfulness, honesty)")
    if name == "WEIGHTED_MEAN_OF":
        weights = [literal_number(weight) for weight in given[1::2]]
        if len(given) % 2 or any(weight is None or weight < 0 for weight in weights) or not any(weights):
            raise _refused(
                scope, f"{_shown(node)} needs a weight behind each column", f"write {name}(honesty, 2, overall, 1)"
            )
    return _fixed(NUMBER, NUMBER)(node, scope)


def _whole(node: Any, scope: Scope) -> str:
    if len(list(operands(node))) != 1:
        raise _refused(scope, f"{_shown(node)} takes one value", "write ROUND(x, 2), or FLOOR(100 * x) / 100")
    return _fixed(NUMBER, NUMBER)(node, scope)


def _round(node: Any, scope: Scope) -> str:
    if node.args.get("truncate") is not None:
        raise _refused(scope, f"{_shown(node)} takes a value and its decimals", "write ROUND(x, 2)")
    decimals = node.args.get("decimals")
    if decimals is not None and literal_number(decimals) not in range(16):
        raise _refused(scope, f"{_shown(node)} needs decimals from 0 to 15", "write ROUND(x, 2)")
    return _fixed(NUMBER, NUMBER)(node, scope)


def _literal(node: Any, scope: Scope) -> str:
    if node.is_string:
        return TEXT
    number = literal_number(node)
    if number is None or number in (float("inf"), float("-inf")):
        raise _refused(scope, f"{_shown(node)} is no number that can be computed with", PAGE)
    return NUMBER


def _like(node: Any, scope: Scope) -> str:
    pattern = node.expression
    if type(pattern).__name__ != "Literal" or not pattern.is_string:
        raise _refused(scope, f"{_shown(node)} needs its pattern written out", "write model LIKE 'gpt%'")
    return _fixed(TEXT, BOOLEAN)(node, scope)


_KINDS: dict[str, Callable[[Any, Scope], str]] = {
    **dict.fromkeys(NUMBERS, _fixed(NUMBER, NUMBER)),
    **dict.fromkeys(ORDERS, _fixed(NUMBER, BOOLEAN)),
    **dict.fromkeys(("And", "Or", "Not"), _fixed(BOOLEAN, BOOLEAN)),
    **dict.fromkeys(EQUALS, _equal),
    **dict.fromkeys(("Like", "ILike"), _like),
    **dict.fromkeys(AGGREGATES, _aggregate),
    **dict.fromkeys(("Case", "If"), _case),
    "Round": _round,
    **dict.fromkeys(("Floor", "Ceil"), _whole),
    "Coalesce": lambda node, scope: _one_kind(list(operands(node)), scope, _shown(node)),
    "Paren": lambda node, scope: kind_of(node.this, scope),
    "Is": _is,
    "Column": _column,
    "Literal": _literal,
    "Boolean": lambda node, scope: BOOLEAN,
    "Null": _null,
    "Window": _window,
    "Anonymous": _named,
}
"""Node -> what gives its kind and checks what is below it. A node that is not here is not in the language."""


def _is_nodes(value: Any) -> bool:
    from sqlglot.expressions import Expression

    return isinstance(value, Expression) or (isinstance(value, list) and all(_is_nodes(one) for one in value))


def _called(node: Any) -> str:
    """Return how a node is called where it is written."""
    name = type(node).__name__
    words = {"Explode": "UNNEST", "Rand": "RANDOM", "Block": "more than one statement", "Dot": "'.'", "Alias": "AS",
             "Star": "'*'"}  # fmt: skip
    return words.get(name, f"'{in_short(str(node.this))}'" if name == "Anonymous" else name.upper())


def _shown(node: Any) -> str:
    return in_short(node.sql(dialect="postgres"))


def _refused(scope: Scope, problem: str, hint: str) -> UserError:
    return UserError(f"{scope.key}: {problem}", hint)
