"""MT-Bench: what a judge thinks of each answer to two-turn questions, from 1 to 10.

A judgment that failed (-1 or null) has no rating: it is left out and counted. Every mean stands beside its coverage,
the share of the expected judgments that have a rating. A rating off the scale, such as a 0 that a parser took from code
in the judge's text, stays in the mean, as it does in published scores, and is counted. The turns of a question are no
independent draws, so errors are clustered by question. A model that is judged twice on the same turn of a question has
no defined score: it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.kit.published_files import read_objects, require
from notus_exp.evaluation.mt_bench.spec import SCALE
from notus_exp.inference.estimates import Estimate, mean_estimate, paired_difference, standard_error
from notus_exp.inference.paired import PairedComparison, paired_comparison
from notus_exp.judging.verdict_origin import origin_of_gradings

FAILED = -1
"""Published for a judgment without a rating."""

_DOUBLE = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_SINGLE = re.compile(r"\[(\d+(?:\.\d+)?)\]")
_KEY = ["question_id", "turn"]
_RATED = pl.col("score").is_not_null() & pl.col("score").cast(pl.Float64).is_finite() & (pl.col("score") != FAILED)


class Rating(NamedTuple):
    """A mean rating and how much of what was asked is behind it.

    Attributes:
        estimate: Mean over the judgments with a t interval clustered by question; `n` counts questions.
        standard_error: Clustered by question, as published (`estimates.standard_error`).
        judged: Judgments with a rating.
        failed: Judgments without one (-1 or null).
        off_scale: Ratings outside [1, 10], which are in the mean.
        expected: Turns of questions that should have been judged.
    """

    estimate: Estimate
    standard_error: float
    judged: int
    failed: int
    off_scale: int
    expected: int

    @property
    def coverage(self) -> float:
        """Return the share of the expected judgments that have a rating, in [0, 1]."""
        return self.judged / self.expected if self.expected else 0.0


def published_rating(judgment: str) -> float | None:
    """Return the first `[[rating]]` of a judge's text, else the first `[rating]`, else None."""
    found = _DOUBLE.search(judgment) or _SINGLE.search(judgment)
    return float(found.group(1)) if found else None


def read_judgments(path: Path) -> pl.DataFrame:
    """Read single-answer judgments as FastChat writes them.

    Returns:
        `model, question_id, turn, score, judgment`, one row a judgment; -1 is a failed one, `judgment` is null where
        the text is not kept.

    Raises:
        UserError: The file cannot be read, a key is missing or of the wrong type, or several judges rated: two judges
            altogether, or two templates on one turn of a question.
    """
    schema = {"model": pl.String, "question_id": pl.Int64, "turn": pl.Int64, "score": pl.Float64, "judgment": pl.String}
    rows = read_objects(path, ["model", "question_id", "turn", "score"], "judgments")
    for number, row in enumerate(rows, start=1):
        place = f"judgments: '{path}' record {number}"
        row.setdefault("judgment", None)
        require(row, "model", "text", place)
        require(row, "question_id", "integer", place)
        require(row, "turn", "integer", place)
        require(row, "score", "number", place, null=True)
        require(row, "judgment", "text", place, null=True)
    _check_one_judge(rows, path)
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema, strict=False)


def _check_one_judge(rows: list[dict[str, Any]], path: Path) -> None:
    origin_of_gradings(rows, "judgments", path)
    asked: dict[tuple[int, int], Any] = {}
    for row in rows:
        turn, how = (row["question_id"], row["turn"]), row.get("judge")
        if asked.setdefault(turn, how) != how:
            raise UserError(
                f"judgments: '{path}' has turn {turn[1]} of question {turn[0]} judged in two ways: "
                f"{asked[turn]} and {how}",
                "write a file for each: ratings by different templates are never mixed",
            )


def read_expected_turns(path: Path) -> pl.DataFrame:
    """Read question.jsonl: `question_id, turn, category`, one row a turn, in the file's order.

    Raises:
        UserError: The file cannot be read, a key is missing or of the wrong type.
    """
    rows = read_objects(path, ["question_id", "category", "turns"], "questions")
    for number, row in enumerate(rows, start=1):
        place = f"questions: '{path}' record {number}"
        require(row, "question_id", "integer", place)
        require(row, "category", "text", place)
        if not isinstance(row["turns"], list):
            raise UserError(f"{place}: turns is {ascii(row['turns'])[:60]}", "it must be a list of the user's messages")
    turns = [(row["question_id"], turn + 1, row["category"]) for row in rows for turn in range(len(row["turns"]))]
    schema = {"question_id": pl.Int64, "turn": pl.Int64, "category": pl.String}
    return pl.DataFrame(turns, schema=schema, orient="row")


def duplicates(judgments: pl.DataFrame) -> dict[str, int]:
    """Return the models judged more than once on a turn of a question, and on how many turns."""
    counts = judgments.group_by("model", *_KEY).len().filter(pl.col("len") > 1)["model"].value_counts(sort=True)
    return dict(counts.iter_rows())


def measure(judgments: pl.DataFrame, expected: pl.DataFrame | None = None) -> dict[str, Rating]:
    """Rate one model.

    Args:
        judgments: Of one model: `question_id, turn, score` (-1 or null: failed), and `category` where `expected` has
            none.
        expected: `question_id, turn`, and `category` where wanted: what should have been judged; None: what was.

    Returns:
        `score` over all judgments, `turn_<n>` and, where there are categories, `category/<name>` in the order in which
        they come.

    Raises:
        UserError: The same turn of a question is judged twice, or one that is not expected.
    """
    asked = judgments if expected is None else expected
    columns = [*_KEY, "category"] if "category" in asked.columns else _KEY
    rows = _expected_rows(judgments, asked.select(columns))
    ratings = {"score": _rating(rows)}
    for turn in rows["turn"].unique().sort():
        ratings[f"turn_{turn}"] = _rating(rows.filter(pl.col("turn") == turn))
    if "category" in columns:
        for category in rows["category"].unique(maintain_order=True).drop_nulls():
            ratings[f"category/{category}"] = _rating(rows.filter(pl.col("category") == category))
    return ratings


def estimates(
    policy: pl.DataFrame, expected: pl.DataFrame | None = None, base: pl.DataFrame | None = None
) -> dict[str, Estimate]:
    """Return the means with t intervals clustered by question.

    Args:
        policy: As in `measure`.
        expected: As in `measure`.
        base: Judgments of the base model, or None.

    Returns:
        `mt_bench/<name>` for every name of `measure` and `mt_bench/coverage`; with a base the same after `base/`, and
        `difference/mt_bench/score` and `difference/mt_bench/turn_<n>`, policy minus base, over the turns with a rating
        on both sides.

    Raises:
        UserError: As `measure`.
    """
    found: dict[str, Estimate] = {}
    for prefix, side in (("", policy), ("base/", base)):
        if side is None:
            continue
        ratings = measure(side, expected)
        found |= {f"{prefix}mt_bench/{name}": rating.estimate for name, rating in ratings.items()}
        judged, asked = ratings["score"].judged, ratings["score"].expected
        share = judged / asked if asked else float("nan")
        found[f"{prefix}mt_bench/coverage"] = Estimate(share, share, share, asked)  # counted, not estimated
    if base is not None:
        both = _both(policy, base)
        for name, rows in [("score", both), *((f"turn_{turn[0]}", part) for turn, part in _by_turn(both))]:
            found[f"difference/mt_bench/{name}"] = paired_difference(
                rows["score"].to_list(),
                rows["score_b"].to_list(),
                clusters=rows["question_id"].to_list(),
            )
    return found


def paired(judgments: pl.DataFrame, model_a: str, model_b: str) -> PairedComparison:
    """Compare two models turn by turn, clustered by question; `left_out` counts turns without a rating on both sides.

    Args:
        judgments: `model, question_id, turn, score`, of these two models and any others.
        model_a: Its ratings minus
        model_b: these.

    Raises:
        UserError: A model is not in the table, or is judged twice on a turn.
    """
    known = judgments["model"].unique().to_list()
    for model in (model_a, model_b):
        if model not in known:
            raise UserError(f"no judgments of the model '{model}'", did_you_mean(model, known))
    both = _both(*(judgments.filter(pl.col("model") == model) for model in (model_a, model_b)))
    return paired_comparison(both["score"].to_list(), both["score_b"].to_list(), clusters=both["question_id"].to_list())


def radar(ratings: Mapping[str, Mapping[str, Rating]], kind: Literal["svg", "png"] = "svg") -> bytes:
    """Draw the mean rating by category, a line a model.

    Args:
        ratings: From `measure`, by model; a category without a rating leaves a gap.
        kind: Format of the picture.

    Raises:
        UserError: There are no categories.
    """
    # most of a second, which only the plot needs
    from matplotlib.figure import Figure

    from notus_exp.reporting.figures import style, to_bytes
    from notus_exp.reporting.texts import label

    prefix = "category/"
    names = list(dict.fromkeys(name for rated in ratings.values() for name in rated if name.startswith(prefix)))
    if not names:
        raise UserError("there are no categories to draw", "give the questions with their categories")
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    with style():
        figure = Figure(figsize=(6.4, 5.6))
        axes: Any = figure.add_subplot(projection="polar")
        for model, rated in ratings.items():
            means = [rated[name].estimate.value if name in rated else np.nan for name in names]
            axes.plot([*angles, angles[0]], [*means, means[0]], marker="o", markersize=3, label=label(model))
        axes.set_xticks(angles, [label(name.removeprefix(prefix)) for name in names])
        axes.tick_params(axis="x", pad=8)
        axes.set_ylim(0, SCALE[1])
        axes.set_title("MT-Bench: mean rating by category")
        axes.legend(loc="upper left", bbox_to_anchor=(1.05, 1.05), fontsize=8)
        return to_bytes(figure, kind)


def _expected_rows(judgments: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Return one row an expected turn: the columns of `asked`, `score` (null without a judgment) and `judged`."""
    _refuse_duplicates(judgments)
    unknown = judgments.join(asked, on=_KEY, how="anti")
    if unknown.height:
        question, turn = unknown.select(_KEY).row(0)
        raise UserError(
            f"question {question}, turn {turn} was judged but is not among the expected ({unknown.height} such)",
            "give the questions that these judgments belong to",
        )
    scores = judgments.select(*_KEY, pl.col("score").cast(pl.Float64), judged=pl.lit(True))
    return asked.join(scores, on=_KEY, how="left", maintain_order="left")


def _rating(rows: pl.DataFrame) -> Rating:
    rated = rows.filter(_RATED)
    values, questions = rated["score"].to_numpy(), rated["question_id"].to_list()
    off_scale = rated.filter(~pl.col("score").is_between(*SCALE)).height
    seen = [*SCALE, *values]
    return Rating(
        estimate=mean_estimate(values, clusters=questions, span=(min(seen), max(seen))),
        standard_error=standard_error(values, clusters=questions),
        judged=rated.height,
        failed=int(rows["judged"].sum()) - rated.height,
        off_scale=off_scale,
        expected=rows.height,
    )


def _both(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Return `question_id, turn, score, score_b` of every turn judged on either side; null without a rating."""
    score = pl.col("score").cast(pl.Float64)
    for side in (a, b):
        _refuse_duplicates(side)
    left, right = (side.select(*_KEY, score=pl.when(_RATED).then(score)) for side in (a, b))
    return left.join(right, on=_KEY, how="full", coalesce=True, suffix="_b").sort(_KEY)


def _by_turn(both: pl.DataFrame) -> list[tuple[tuple[Any, ...], pl.DataFrame]]:
    return list(both.group_by("turn", maintain_order=True))


def _refuse_duplicates(judgments: pl.DataFrame) -> None:
    """Refuse the judgments of one model that judge a turn of a question twice."""
    twice = judgments.filter(pl.struct(_KEY).is_duplicated())
    if twice.height:
        question, turn = twice.select(_KEY).row(0)
        keys = twice.select(_KEY).n_unique()
        model = f"model '{twice['model'][0]}'" if "model" in twice.columns else "a model"
        raise UserError(
            f"{model} is judged more than once on {keys} turns, first question {question}, turn {turn}",
            "keep one judgment a turn: a mean over runs of the judge would hide which of them is meant",
        )
