"""Tables of models by prompts that other tools made: wide, long, or games of two models against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.alpaca_eval import points
from notus_exp.evaluation.records import read_csv

WIDE, LONG, GAMES = "wide", "long", "games"
KINDS = {
    WIDE: "one column a model and at most one that names the prompt",
    LONG: "columns model, prompt, value, and seed where there are several",
    GAMES: "columns model_a, model_b, winner (a model, or tie), and prompt where it is known",
}
PROMPT_COLUMNS = ("prompt_id", "prompt", "index", "question_id", "instruction_sha16")
TIE = "tie"

_LONG_COLUMNS, _GAME_COLUMNS = ("model", "value"), ("model_a", "model_b", "winner")


class Values(NamedTuple):
    """Values of models by prompts.

    Attributes:
        table: `model, seed, prompt, value` (Float64, null where missing), one row each, and `cluster` where asked for.
        models: In the file's order.
        notes: What was left out, in words.
    """

    table: pl.DataFrame
    models: list[str]
    notes: list[str]


class Games(NamedTuple):
    """Verdicts on two models each.

    Attributes:
        first: Who played
        second: whom.
        score: 1 where the first wins, 0 where the second does, 0.5 for a tie.
        clusters: The prompt (or other unit) of each; None where it is not known.
        notes: What was left out, in words.
    """

    first: list[str]
    second: list[str]
    score: list[float]
    clusters: list[str] | None
    notes: list[str]


def read_table(path: Path) -> pl.DataFrame:
    """Read a CSV or parquet file.

    Raises:
        UserError: There is no such file, it is of another type, it cannot be read, or it is empty.
    """
    if path.suffix == ".parquet":
        if not path.is_file():
            raise UserError(f"verdicts: there is no file '{path}'", "check the path")
        try:
            table = pl.read_parquet(path)
        except pl.exceptions.PolarsError as error:
            raise UserError(f"verdicts: '{path}' is not parquet: {str(error).splitlines()[0]}") from error
    elif path.suffix == ".csv":
        table = read_csv(path, "verdicts")
    else:
        raise UserError(f"verdicts: cannot read the type of '{path}'", "give a file that ends in .csv or .parquet")
    if table.is_empty():
        raise UserError(f"verdicts: '{path}' has no rows", "write the file again")
    return table


def kind_of(table: pl.DataFrame, path: Path, clusters: str | None = None) -> str:
    """Tell the kind of a table from its columns, apart from that of the clusters.

    Raises:
        UserError: They fit none.
    """
    columns = set(table.columns)
    if columns >= set(_GAME_COLUMNS):
        return GAMES
    if columns >= set(_LONG_COLUMNS) and columns & set(PROMPT_COLUMNS):
        return LONG
    models = [name for name in table.columns if name not in (*PROMPT_COLUMNS, clusters)]
    if len(models) > 1 and all(_holds_numbers(table[name]) for name in models):
        return WIDE
    listed = ", ".join(f"'{name}'" for name in table.columns[:12])
    kinds = "; ".join(f"--kind {kind}: {words}" for kind, words in KINDS.items())
    raise UserError(f"verdicts: the columns of '{path}' ({listed}) fit no kind of table", kinds)


def values_of(
    table: pl.DataFrame, kind: str, path: Path, *, clusters: str | None, alpaca_eval: bool, scale: float | None
) -> Values:
    """Return the values of a wide or long table.

    Args:
        table: As read.
        kind: WIDE or LONG.
        path: Of the file, for errors.
        clusters: Column of the unit that a prompt belongs to; None where each is its own.
        alpaca_eval: The values are AlpacaEval's preferences, 1 to 2, a draw 1.5 or 0: they become points, 0 to 100.
        scale: What the values are multiplied by; None leaves them.

    Raises:
        UserError: A column is missing or holds text, or a model has two values on a prompt.
    """
    if clusters is not None:
        _column(table, clusters, path)
    long = _wide_to_long(table, path, clusters) if kind == WIDE else _long(table, path, clusters)
    twice = long.filter(pl.struct("model", "seed", "prompt").is_duplicated())
    if twice.height:
        model, seed, prompt = twice.select("model", "seed", "prompt").row(0)
        raise UserError(
            f"verdicts: '{path}' has several values of '{model}' on prompt {prompt}, seed {seed} ({twice.height} such)",
            "keep one, or give each its seed in a column 'seed'",
        )
    notes = []
    if alpaca_eval:
        missing = long["value"].null_count()
        long = long.with_columns(points(long["value"]).alias("value"))
        if lost := long["value"].null_count() - missing:
            notes.append(f"{lost} values are no preference (1 to 2, or 0 for a draw) and were left out")
    elif scale is not None:
        long = long.with_columns(pl.col("value") * scale)
    return Values(long, long["model"].unique(maintain_order=True).to_list(), notes)


def games_of(table: pl.DataFrame, path: Path, *, clusters: str | None) -> Games:
    """Return the verdicts of a head-to-head table.

    Args:
        table: As read.
        path: Of the file, for errors.
        clusters: Column of the unit that a verdict belongs to; None: the prompt where there is such a column.

    Raises:
        UserError: A column is missing, or a winner is neither of the two models nor a tie.
    """
    for name in _GAME_COLUMNS:
        _column(table, name, path)
    by = clusters or next((name for name in PROMPT_COLUMNS if name in table.columns), None)
    if clusters is not None:
        _column(table, clusters, path)
    named = table.select(pl.col(*_GAME_COLUMNS).cast(pl.String), cluster=pl.col(by).cast(pl.String) if by else None)
    played = named.drop_nulls(_GAME_COLUMNS)
    winner = pl.col("winner")
    score = pl.when(winner == pl.col("model_a")).then(1.0).when(winner == pl.col("model_b")).then(0.0)
    scored = played.with_columns(score=score.when(winner.str.to_lowercase() == TIE).then(0.5))
    wrong = scored.filter(pl.col("score").is_null())
    if wrong.height:
        one, other, said, _, _ = wrong.row(0)
        raise UserError(
            f"verdicts: '{path}' names '{said}' the winner of '{one}' and '{other}' ({wrong.height} such rows)",
            f"a winner is one of the two models, or {TIE}; empty where there was no verdict",
        )
    lost = named.height - played.height
    return Games(
        scored["model_a"].to_list(),
        scored["model_b"].to_list(),
        scored["score"].to_list(),
        scored["cluster"].to_list() if by else None,
        [f"{lost} rows without a verdict were left out"] if lost else [],
    )


def _wide_to_long(table: pl.DataFrame, path: Path, clusters: str | None) -> pl.DataFrame:
    key = next((name for name in PROMPT_COLUMNS if name in table.columns), None)
    models = [name for name in table.columns if name not in (*PROMPT_COLUMNS, clusters)]
    for name in models:
        if not _holds_numbers(table[name]):
            raise UserError(
                f"verdicts: column '{name}' of '{path}' holds text", "a model's values are numbers, empty where missing"
            )
    named = table.select(
        pl.col(models).cast(pl.Float64).fill_nan(None),
        (pl.col(key) if key else pl.int_range(pl.len())).cast(pl.String).alias("\0prompt"),
        (pl.col(clusters).cast(pl.String) if clusters else pl.lit(None, pl.String)).alias("\0cluster"),
    )
    long = named.unpivot(models, index=["\0prompt", "\0cluster"], variable_name="model", value_name="value")
    return long.select(
        "model", pl.lit("0").alias("seed"), pl.col("\0prompt").alias("prompt"), "value", cluster="\0cluster"
    )


def _long(table: pl.DataFrame, path: Path, clusters: str | None) -> pl.DataFrame:
    for name in _LONG_COLUMNS:
        _column(table, name, path)
    key = next((name for name in PROMPT_COLUMNS if name in table.columns), None)
    if key is None:
        raise UserError(f"verdicts: '{path}' has no column that names the prompt", f"call it {PROMPT_COLUMNS[0]}")
    if not _holds_numbers(table["value"]):
        raise UserError(f"verdicts: column 'value' of '{path}' holds text", "values are numbers, empty where missing")
    return table.select(
        pl.col("model").cast(pl.String),
        (pl.col("seed").cast(pl.String) if "seed" in table.columns else pl.lit("0")).alias("seed"),
        pl.col(key).cast(pl.String).alias("prompt"),
        pl.col("value").cast(pl.Float64).fill_nan(None),
        (pl.col(clusters).cast(pl.String) if clusters else pl.lit(None, pl.String)).alias("cluster"),
    )


def _holds_numbers(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype == pl.Boolean or column.null_count() == column.len()


def _column(table: pl.DataFrame, name: str, path: Path) -> None:
    columns: Sequence[str] = table.columns
    if name not in columns:
        raise UserError(f"verdicts: '{path}' has no column '{name}'", did_you_mean(name, columns))
