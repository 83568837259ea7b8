"""AlpacaEval's files: annotations, outputs, difficulties and weights, and the place of a model on a leaderboard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.disk.folding import folded
from notus_exp.disk.given import LARGEST
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.alpaca_eval.length_control import Weights
from notus_exp.evaluation.alpaca_eval.win_rates import Score
from notus_exp.evaluation.kit.published_files import one_of, read_csv, read_objects, refuse_twice, require
from notus_exp.inference.estimates import Estimate
from notus_exp.judging.verdict_origin import VerdictOrigin, origin_of, origin_of_records, tells_origin

LENGTH_CONTROLLED = "length_controlled_winrate"
"""The leaderboard's column, as AlpacaEval spells it: for its own estimator alone."""
LENGTH_ADJUSTED = "length_adjusted_winrate"
OF_ONE_JUDGE = "a place holds under one judge and reference model, and a leaderboard does not tell its own"
"""What stands beside every place on a leaderboard."""

_WEIGHTS = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")


class Preferences(NamedTuple):
    """A model's stored preferences: its name, one row a prompt, and who gave them.

    The table has `prompt_id, preference`, and from annotations also the texts `reference, model` and `folded`, the
    hash of the folded instruction.
    """

    name: str
    table: pl.DataFrame
    origin: VerdictOrigin = VerdictOrigin()


class Place(NamedTuple):
    """Where a win rate stands among published ones.

    Attributes:
        rank: From 1, the highest win rate; equal ones share the better rank.
        of: Models on the leaderboard with this one.
        above: Name and win rate of the next better model, None at the top.
        below: Name and win rate of the next worse or equal model, None at the bottom.
        best: Rank at the upper end of the interval, None where there is no interval.
        worst: Rank at the lower end of the interval, None where there is no interval.
        unranked: Models of the leaderboard without a win rate, left out.
    """

    rank: int
    of: int
    above: tuple[str, float] | None
    below: tuple[str, float] | None
    best: int | None
    worst: int | None
    unranked: int


def read_annotations(path: Path) -> Preferences:
    """Read annotations.json, one object a verdict; the prompt's id is the hash of its instruction.

    Raises:
        UserError: The file cannot be read, a verdict is no number, a text is none, several models, judges or reference
            models are in it, or a prompt twice.
    """
    rows = read_objects(path, ["instruction", "output_1", "output_2", "preference"], "annotations")
    names = sorted({str(row.get("generator_2") or path.stem) for row in rows})
    if len(names) > 1:
        raise UserError(f"annotations: '{path}' holds several models: {', '.join(names[:5])}", "write one file a model")
    for number, row in enumerate(rows, start=1):
        place = f"annotations: '{path}' record {number}"
        require(row, "preference", "number", place, null=True)
        for key in ("instruction", "output_1", "output_2"):
            require(row, key, "text", place)
    table = pl.DataFrame(
        {
            "prompt_id": [prompt_id(row["instruction"]) for row in rows],
            "folded": [prompt_id(folded(row["instruction"])) for row in rows],
            "preference": [row["preference"] for row in rows],
            "reference": [row["output_1"] for row in rows],
            "model": [row["output_2"] for row in rows],
        },
        schema={"prompt_id": pl.String, "folded": pl.String, "preference": pl.Float64}
        | {"reference": pl.String, "model": pl.String},
        strict=False,
    )
    origin = origin_of_records(rows, "annotations", path)
    refuse_twice([row["instruction"] for row in rows], "annotations", path)
    return Preferences(names[0], table, origin)


def named_alike(table: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the `prompt_id` of another where their instructions are the same once folded.

    Two files often write a prompt with and without the line end behind it. Where either has no `folded`, or two prompts
    of the table would become one, the ids stay.
    """
    if "folded" not in table.columns or "folded" not in other.columns:
        return table
    known = other.select("folded", alike="prompt_id").unique("folded", keep="none")
    alike = table.join(known, on="folded", how="left", maintain_order="left")["alike"]
    named = table.with_columns(prompt_id=alike.fill_null(table["prompt_id"]))
    merged = named["prompt_id"].n_unique() < table["prompt_id"].n_unique()
    return table if merged else named


def of_other_references(table: pl.DataFrame, other: pl.DataFrame) -> pl.Series:
    """Return the ids of prompts, one a row of a table, whose reference answer there is not that of another table.

    Args:
        table: `prompt_id, reference`.
        other: The same, one row a prompt; prompts of one table alone are not looked at.
    """
    both = table.join(other.select("prompt_id", that="reference"), on="prompt_id", maintain_order="left")
    return both.filter(pl.col("reference").str.strip_chars() != pl.col("that").str.strip_chars())["prompt_id"]


def read_preference_column(path: Path, column: str, prompts: Path | None = None) -> Preferences:
    """Read one model's column of a CSV file of preferences; an empty cell is a failed verdict.

    Args:
        path: CSV with one row a prompt, named by a column `prompt_id`, `instruction_sha16` or `index`.
        column: The model.
        prompts: CSV with `index` and `instruction_sha16`, which names the prompts of a file that only has `index`.

    Raises:
        UserError: The file cannot be read, the column is missing or holds text, a prompt has no name or two, or columns
            tell of several judges or reference models.
    """
    table = read_csv(path, "preferences")
    if column not in table.columns:
        raise UserError(f"preferences: '{path}' has no column '{column}'", did_you_mean(column, table.columns))
    if not table[column].dtype.is_numeric() and table[column].null_count() < table.height:
        raise UserError(f"preferences: column '{column}' of '{path}' holds text", "preferences are numbers, 1 to 2")
    named = table.select(named_prompts(table, path, "preferences", prompts), preference=pl.col(column).cast(pl.Float64))
    told = {name: table[name] for name in table.columns if tells_origin(name, table[name]) and name != column}
    return Preferences(column, named, origin_of(told, "preferences", path))


def named_prompts(table: pl.DataFrame, path: Path, what: str, prompts: Path | None) -> pl.Series:
    """Return `prompt_id` of each row of a table of preferences.

    Args:
        table: With a column `prompt_id`, `instruction_sha16` or `index`.
        path: Of its file, for errors.
        what: What it holds, for errors.
        prompts: CSV with `index` and `instruction_sha16`, which names the prompts of a file that only has `index`.

    Raises:
        UserError: There is no such column, or a prompt has no name or two.
    """
    key = one_of(table, ["prompt_id", "instruction_sha16", "index"], path, what)
    if key != "index" or prompts is None:
        return table[key].cast(pl.String).alias("prompt_id")
    ids = read_csv(prompts, "prompts")
    for name in ("index", "instruction_sha16"):
        one_of(ids, [name], prompts, "prompts")
    ids = ids.select(pl.col("index").cast(table[key].dtype, strict=False), prompt_id="instruction_sha16")
    ids = ids.drop_nulls("index")  # no index of these preferences
    if ids["index"].is_duplicated().any():
        twice = ids.filter(pl.col("index").is_duplicated())["index"][0]
        raise UserError(f"prompts: '{prompts}' names index {twice} more than once", "keep one row an index")
    named = table.select(key).join(ids, left_on=key, right_on="index", how="left", maintain_order="left")
    if named["prompt_id"].null_count():
        lost = named.filter(pl.col("prompt_id").is_null())[key][0]
        raise UserError(f"prompts: '{prompts}' does not name index {lost} of '{path}'", "give the file of this set")
    return named["prompt_id"].cast(pl.String)


def read_difficulty(path: Path) -> pl.DataFrame:
    """Read `prompt_id, difficulty` from a CSV file with AlpacaEval's names or these.

    Raises:
        UserError: The file cannot be read, has no such columns, names a prompt twice, or a difficulty is no number.
    """
    table = read_csv(path, "difficulty")
    key = one_of(table, ["prompt_id", "instruction_sha16"], path, "difficulty")
    names = ["difficulty", "recovered_instruction_difficulty", "instruction_difficulty"]
    value = one_of(table, names, path, "difficulty")
    if table[key].is_duplicated().any():
        twice = table.filter(pl.col(key).is_duplicated())[key][0]
        raise UserError(f"difficulty: '{path}' names prompt {twice} more than once", "keep one row a prompt")
    return table.select(prompt_id=pl.col(key).cast(pl.String), difficulty=_numbers(table, value, path, "difficulty"))


def read_weights(path: Path, model: str) -> Weights:
    """Read one model's published weights of the length-controlled win rate.

    Raises:
        UserError: The file cannot be read, does not know the model, or a weight of it is no number.
    """
    table = read_csv(path, "weights")
    theta, psi, b = (one_of(table, [name], path, "weights") for name in _WEIGHTS)
    names = table.to_series(0).cast(pl.String)
    row = table.filter(names == model)
    if not row.height:
        raise UserError(f"weights: '{path}' has no model '{model}'", did_you_mean(model, names.drop_nulls()))
    found = {name: _numbers(row, name, path, "weights")[0] for name in (theta, psi, b)}
    for name, weight in found.items():
        if weight is None or not math.isfinite(weight):
            raise UserError(f"weights: column '{name}' of '{path}' has no number for '{model}'", "give its weight")
    # published for the reference's length less the model's
    return Weights(-found[theta], found[psi], found[b])


def models_with_weights(path: Path) -> list[str]:
    """Return the models that a file of weights knows; raises as `read_csv`."""
    return read_csv(path, "weights").to_series(0).cast(pl.String).drop_nulls().to_list()


def baseline_of_weights(path: Path) -> str | None:
    """Return the model that published weights are against: the one whose weights are all 0; None where none is.

    Raises:
        UserError: The file cannot be read or lacks a column of weights.
    """
    table = read_csv(path, "weights")
    zero = [pl.col(one_of(table, [name], path, "weights")).cast(pl.Float64, strict=False) == 0 for name in _WEIGHTS]
    names = table.filter(pl.all_horizontal(zero)).to_series(0).cast(pl.String).drop_nulls()
    return names[0] if names.len() == 1 else None


def read_leaderboard(path: Path, column: str = "win_rate") -> pl.DataFrame:
    """Read `name, rate` from a published leaderboard file; an empty or NaN rate is null.

    Args:
        path: CSV whose first column names the models.
        column: The win rate, such as `length_controlled_winrate`.

    Raises:
        UserError: The file cannot be read, lacks the column, or a rate is no number.
    """
    table = read_csv(path, "leaderboard")
    rate = one_of(table, [column], path, "leaderboard")
    rates = _numbers(table, rate, path, "leaderboard").fill_nan(None)
    return table.select(name=pl.nth(0).cast(pl.String), rate=rates)


def place_in_leaderboard(
    win_rate: Estimate, leaderboard: Path, *, column: str = "win_rate", name: str | None = None
) -> Place:
    """Place a win rate among the models of a published leaderboard file.

    Args:
        win_rate: In percent; its interval tells the range of ranks.
        leaderboard: CSV whose first column names the models.
        column: The win rate to compare with, such as `length_controlled_winrate`.
        name: The model's own name, whose published row is left out.

    Raises:
        UserError: As of `read_leaderboard`.
    """
    others = read_leaderboard(leaderboard, column).filter(pl.col("name").ne_missing(name))
    ranked = others.drop_nulls("rate").sort("rate", descending=True)
    better = ranked.filter(pl.col("rate") > win_rate.value)
    return Place(
        rank=better.height + 1,
        of=ranked.height + 1,
        above=better.row(-1) if better.height else None,
        below=ranked.row(better.height) if better.height < ranked.height else None,
        best=_rank(ranked, win_rate.high),
        worst=_rank(ranked, win_rate.low),
        unranked=others.height - ranked.height,
    )


def write_model_outputs(path: Path, answers: pl.DataFrame, generator: str) -> None:
    """Write model_outputs.json.

    Args:
        path: The file to write.
        answers: `instruction, model` (the answer's text), and `dataset` where it is known.
        generator: The model's name.
    """
    rows = [
        {"instruction": row["instruction"], "output": row["model"], "generator": generator, **_dataset(row)}
        for row in answers.iter_rows(named=True)
    ]
    _write_json(path, rows)


def write_annotations(
    path: Path,
    judged: pl.DataFrame,
    *,
    reference_name: str,
    model_name: str,
    annotator: str,
    snapshot: str | None = None,
) -> None:
    """Write annotations.json, which `read_annotations` and AlpacaEval read.

    Args:
        path: The file to write.
        judged: `instruction, reference, model` (texts), `preference` (null where failed), and `dataset` where known.
        reference_name: Who wrote the reference answers.
        model_name: Who wrote the model's.
        annotator: The judge.
        snapshot: The judge as it named itself, where it did.
    """
    named = {"snapshot": snapshot} if snapshot else {}
    rows = [
        {
            "instruction": row["instruction"],
            "output_1": row["reference"],
            "generator_1": reference_name,
            **_dataset(row),
            "output_2": row["model"],
            "generator_2": model_name,
            "annotator": annotator,
            **named,
            "preference": row["preference"],
        }
        for row in judged.with_columns(pl.col("preference").fill_nan(None)).iter_rows(named=True)
    ]
    _write_json(path, rows)


def write_leaderboard(path: Path, scores: Mapping[str, Score], length_adjusted: Mapping[str, float]) -> None:
    """Write leaderboard.csv with AlpacaEval's columns, the highest win rate first.

    Its column of length-controlled win rates stays empty: a run has no verdicts on the gamed baseline to fit them with.

    Args:
        path: The file to write.
        scores: From `alpaca_eval.measure`, by model.
        length_adjusted: Length-adjusted win rates in percent; where there are any they have a column of their own.
    """
    rows = [
        {
            "": name,
            **{field: getattr(score, field) for field in Score._fields[:6]},
            "mode": "community",
            "avg_length": score.avg_length,
            "discrete_win_rate": score.discrete_win_rate,
            LENGTH_CONTROLLED: None,
            **({LENGTH_ADJUSTED: length_adjusted.get(name)} if length_adjusted else {}),
        }
        for name, score in scores.items()
    ]
    pl.DataFrame(rows, infer_schema_length=None).fill_nan(None).sort(
        "win_rate", descending=True, nulls_last=True
    ).write_csv(path)


def _numbers(table: pl.DataFrame, column: str, path: Path, what: str) -> pl.Series:
    """Return a column as numbers, an empty cell as null; refuse text and what cannot be computed with."""
    numbers = table[column].cast(pl.Float64, strict=False)
    text = table[column].filter(numbers.is_null() & table[column].is_not_null())
    if text.len():
        raise UserError(
            f"{what}: column '{column}' of '{path}' holds {str(text[0])[:60]!r}", "it must be a number, or empty"
        )
    beyond = numbers.filter((numbers.abs() > LARGEST) & numbers.is_not_nan())
    if beyond.len():
        raise UserError(
            f"{what}: column '{column}' of '{path}' holds {beyond[0]:g}, which is not a usable number",
            f"numbers go from -{LARGEST:.0e} to {LARGEST:.0e}; leave a cell empty where there is none",
        )
    return numbers


def _rank(ranked: pl.DataFrame, rate: float) -> int | None:
    return None if rate != rate else 1 + ranked.filter(pl.col("rate") > rate).height


def _dataset(row: dict[str, Any]) -> dict[str, Any]:
    return {"dataset": row["dataset"]} if "dataset" in row else {}


def _write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
