"""Tables of models by prompts that other tools made: wide, long, or games of two models against each other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.errors import UserError, first_line
from notus_exp.evaluation.alpaca_eval.win_rates import points
from notus_exp.evaluation.kit.published_files import read_csv
from notus_exp.external.verdict_columns import (
    PROMPT_COLUMNS,
    WantedColumns,
    check_column,
    check_filled,
    check_models,
    check_numbers,
    holds_numbers,
    model_columns,
    prompt_column,
)

WIDE, LONG, GAMES = "wide", "long", "games"
KINDS = {
    WIDE: "one column a model and at most one that names the prompt",
    LONG: "columns model, prompt, value, and seed where there are several",
    GAMES: "columns model_a, model_b, winner (a model, or tie), and prompt where it is known",
}
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
        UserError: There is no such file, it is of another type, it cannot be read, it is empty, or two of its columns
            have one name.
    """
    if path.suffix == ".parquet":
        if not path.is_file():
            raise UserError(f"verdicts: there is no file '{path}'", "check the path")
        try:
            table = pl.read_parquet(path, glob=False)
        except pl.exceptions.PolarsError as error:
            raise UserError(f"verdicts: '{path}' is not parquet: {first_line(error)}") from error
    elif path.suffix == ".csv":
        table = read_csv(path, "verdicts")
    else:
        raise UserError(f"verdicts: cannot read the type of '{path}'", "give a file that ends in .csv or .parquet")
    if table.is_empty():
        raise UserError(f"verdicts: '{path}' has no rows", "write the file again")
    return table


def kind_of(table: pl.DataFrame, path: Path, asked: WantedColumns) -> str:
    """Tell the kind of a table from its columns and those that were asked for.

    Raises:
        UserError: They fit none.
    """
    columns = set(table.columns)
    if columns >= set(_GAME_COLUMNS):
        return GAMES
    if columns >= set(_LONG_COLUMNS) and (asked.prompt or columns & set(PROMPT_COLUMNS)):
        return LONG
    models = model_columns(table, asked)
    text = [name for name in models if not holds_numbers(table[name])]
    if asked.models or (models and not text):
        return WIDE
    listed, texts = (", ".join(f"'{name}'" for name in names[:12]) for names in (table.columns, text))
    kinds = "; ".join(f"--kind {kind}: {words}" for kind, words in KINDS.items())
    holds = f"; text in {texts}" if text else ""
    raise UserError(
        f"verdicts: the columns of '{path}' ({listed}{holds}) fit no kind of table",
        f"{kinds}; --prompt-column names the prompts, --models the models' columns",
    )


def values_of(
    table: pl.DataFrame, kind: str, path: Path, asked: WantedColumns, *, alpaca_eval: bool, scale: float | None
) -> Values:
    """Return the values of a wide or long table.

    Args:
        table: As read.
        kind: WIDE or LONG.
        path: Of the file, for errors.
        asked: Columns that were asked for; without clusters each prompt is its own.
        alpaca_eval: The values are AlpacaEval's preferences, 1 to 2, a draw 1.5 or 0: they become points, 0 to 100.
        scale: What the values are multiplied by; None leaves them.

    Raises:
        UserError: A column is missing, holds text, infinite values or numbers of rows, or lacks a name or seed; or a
            model has two values on a prompt.
    """
    if asked.clusters is not None:
        check_column(table, asked.clusters, path)
    key = prompt_column(table, asked, path)
    long = _wide_to_long(table, path, asked, key) if kind == WIDE else _long(table, path, asked, key)
    twice = long.filter(pl.struct("model", "seed", "prompt").is_duplicated())
    if twice.height:
        model, seed, prompt = twice.select("model", "seed", "prompt").row(0)
        raise UserError(
            f"verdicts: '{path}' has several values of '{model}' on prompt {prompt}, seed {seed} ({twice.height} such)",
            "keep one, or give each its seed in a column 'seed'",
        )
    models = long["model"].unique(maintain_order=True).to_list()
    notes = []
    if key is None:
        listed = ", ".join(f"'{name}'" for name in models)
        notes.append(f"no column names the prompt, so each row is a prompt; the columns taken as models: {listed}")
    if alpaca_eval:
        missing = long["value"].null_count()
        long = long.with_columns(points(long["value"]).alias("value"))
        if lost := long["value"].null_count() - missing:
            notes.append(f"{lost} values are no preference (1 to 2, or 0 for a draw) and were left out")
    elif scale is not None:
        long = long.with_columns(pl.col("value") * scale)
    return Values(long, models, notes)


def games_of(table: pl.DataFrame, path: Path, asked: WantedColumns) -> Games:
    """Return the verdicts of a head-to-head table; an empty winner is a missing verdict, left out and counted.

    Args:
        table: As read.
        path: Of the file, for errors.
        asked: Columns that were asked for; without clusters a verdict belongs to its prompt, where that is known.

    Raises:
        UserError: A column is missing, a model, prompt or cluster is empty, there is no verdict, or a winner is neither
            of the two models nor a tie.
    """
    for name in _GAME_COLUMNS:
        check_column(table, name, path)
    if asked.clusters is not None:
        check_column(table, asked.clusters, path)
    by = asked.clusters or prompt_column(table, asked, path)
    for name in ("model_a", "model_b", *([by] if by else [])):
        check_filled(table, name, path)
    named = table.select(pl.col(*_GAME_COLUMNS).cast(pl.String), cluster=pl.col(by).cast(pl.String) if by else None)
    played = named.drop_nulls("winner")
    if played.is_empty():
        raise UserError(
            f"verdicts: column 'winner' of '{path}' is empty in all {named.height} rows",
            f"a winner is one of the two models, or {TIE}",
        )
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


def _wide_to_long(table: pl.DataFrame, path: Path, asked: WantedColumns, key: str | None) -> pl.DataFrame:
    check_models(table, asked, key, path)
    models = model_columns(table, asked)
    named = table.select(
        pl.col(models).cast(pl.Float64).fill_nan(None),
        (pl.col(key) if key else pl.int_range(pl.len())).cast(pl.String).alias("\0prompt"),
        _cluster(asked).alias("\0cluster"),
    )
    long = named.unpivot(models, index=["\0prompt", "\0cluster"], variable_name="model", value_name="value")
    return long.select(
        "model", pl.lit("0").alias("seed"), pl.col("\0prompt").alias("prompt"), "value", cluster="\0cluster"
    )


def _long(table: pl.DataFrame, path: Path, asked: WantedColumns, key: str | None) -> pl.DataFrame:
    for name in _LONG_COLUMNS:
        check_column(table, name, path)
    if key is None:
        raise UserError(
            f"verdicts: '{path}' has no column that names the prompt",
            f"call it {PROMPT_COLUMNS[0]}, or --prompt-column",
        )
    seeded = "seed" in table.columns
    for name in ("model", *(["seed"] if seeded else [])):
        check_filled(table, name, path)
    check_numbers(table, "value", path)
    return table.select(
        pl.col("model").cast(pl.String),
        (pl.col("seed").cast(pl.String) if seeded else pl.lit("0")).alias("seed"),
        pl.col(key).cast(pl.String).alias("prompt"),
        pl.col("value").cast(pl.Float64).fill_nan(None),
        _cluster(asked).alias("cluster"),
    )


def _cluster(asked: WantedColumns) -> pl.Expr:
    return pl.lit(None, pl.String) if asked.clusters is None else pl.col(asked.clusters).cast(pl.String)
