"""`score mt_bench`: every model of a file of single-answer judgments, with its coverage; double-judged ones refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from notus_exp.errors import UserError
from notus_exp.evaluation.mt_bench.ratings import (
    FAILED,
    Rating,
    duplicates,
    measure,
    paired,
    published_rating,
    radar,
    read_expected_turns,
    read_judgments,
)
from notus_exp.external.paired_report import Unit, describe
from notus_exp.reporting.tables import Report, Table, number, span

_COLUMNS = ["", "mean", "standard error", "95 % interval", "judged", "expected", "coverage", "failed", "off scale"]


def report(
    file: Path,
    questions: Path | None,
    compared: tuple[str, str] | None,
    *,
    margins: Sequence[float],
    effect: float,
    picture: Path | None = None,
) -> Report:
    """Score the models of a file.

    Args:
        file: Judgments as FastChat writes them.
        questions: question.jsonl: what should have been judged, and the categories; None: what any model was judged on.
        compared: Two models to compare turn by turn, or None.
        margins: Differences that would not matter, in points of the rating.
        effect: Difference for which the questions are counted, in points of the rating.
        picture: Where to write the radar plot (.svg or .png), or None.

    Raises:
        UserError: A file cannot be used, or a model to compare is unknown or judged twice.
    """
    judgments = read_judgments(file)
    expected = None if questions is None else read_expected_turns(questions)
    asked = (
        judgments.select("question_id", "turn").unique().sort("question_id", "turn") if expected is None else expected
    )
    twice = duplicates(judgments)
    models = [model for model in judgments["model"].unique(maintain_order=True) if model not in twice]
    ratings = {model: measure(judgments.filter(pl.col("model") == model), asked) for model in models}
    found = Report({"models": {model: _data(rated) for model, rated in ratings.items()}, "refused": twice})
    found.tables = [Table(model, _COLUMNS, [_row(*item) for item in rated.items()]) for model, rated in ratings.items()]
    found.sentences = [line for model, rated in ratings.items() for line in _caveats(model, rated["score"])]
    _add_reparsed(found, judgments)
    found.refused = [
        f"'{model}' is judged more than once on {count} turns of questions: its score is not defined"
        for model, count in twice.items()
    ]
    if picture is not None:
        picture.write_bytes(radar(ratings, _kind(picture)))
    if compared is not None:
        unit = Unit("points of the rating", "questions")
        part = describe(compared, paired(judgments, *compared), margins=margins, effect=effect, unit=unit)
        found.data["paired"] = part.data
        found.tables.append(part.table)
        found.sentences += part.sentences
    return found


def _data(ratings: dict[str, Rating]) -> dict[str, Any]:
    return {name: {**rating._asdict(), "coverage": rating.coverage} for name, rating in ratings.items()}


def _row(name: str, rating: Rating) -> list[str]:
    estimate = rating.estimate
    return [
        name,
        number(estimate.value, 4),
        number(rating.standard_error, 4),
        span(estimate.low, estimate.high),
        str(rating.judged),
        str(rating.expected),
        f"{100 * rating.coverage:.1f} %",
        str(rating.failed),
        str(rating.off_scale),
    ]


def _caveats(model: str, rating: Rating) -> list[str]:
    said = []
    if rating.failed:
        said.append(
            f"{model}: {rating.failed} of {rating.expected} judgments FAILED; its mean of "
            f"{number(rating.estimate.value)} is over the other {rating.judged} "
            f"({100 * rating.coverage:.1f} % coverage)"
        )
    if rating.judged + rating.failed < rating.expected:
        asked = rating.judged + rating.failed
        said.append(f"{model}: only {asked} of {rating.expected} expected turns were judged")
    if rating.off_scale:
        said.append(
            f"{model}: {rating.off_scale} ratings are off the scale of 1 to 10; they stay in the mean, as published"
        )
    return said


def _add_reparsed(found: Report, judgments: pl.DataFrame) -> None:
    """Say in how many judgments the stored score is what the text says."""
    kept = judgments.drop_nulls("judgment").select("judgment", pl.col("score").fill_null(FAILED))
    same = 0
    for text, score in kept.iter_rows():
        rating = published_rating(text)
        same += (FAILED if rating is None else rating) == score
    found.data["reparsed"] = {"equal": same, "judgments": kept.height}
    if kept.height:
        found.sentences.append(f"the stored score is the one in the judge's text in {same} of {kept.height} judgments")


def _kind(picture: Path) -> Literal["svg", "png"]:
    match picture.suffix.lower():
        case ".svg":
            return "svg"
        case ".png":
            return "png"
    raise UserError(f"--radar: cannot draw '{picture}'", "name a .svg or .png file")
