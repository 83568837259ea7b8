"""Writers' answers and a judge's ratings become a completions table of UltraFeedback's shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk import files
from notus_exp.disk.hashing import prompt_id
from notus_exp.feedback.made_table import RESPONSES_SCHEMA, answers_table, asked_prompts, rated_table
from notus_exp.feedback.table import LATENT_QUALITY, Row, build, check

ASPECTS = ["helpfulness", "honesty"]
ONE, TWO = prompt_id("One?"), prompt_id("Two?")


def instructions(folder: Path) -> Path:
    rows = [
        Row(0, 0, "One?", "", source="quiz", ratings=(None, None)),
        Row(0, 1, "One?", "x", source="quiz", ratings=(None, None)),
        Row(3, 0, "Two?", "", ratings=(None, None)),
    ]
    place = folder / "instructions"
    place.mkdir()
    build(rows, ASPECTS).write_parquet(place / files.COMPLETIONS)
    return place


def responses(folder: Path, writer: str, *rows: dict[str, Any]) -> Path:
    nothing = {"principle": "honesty", "system_prompt": "Be honest.", "tokens": 3, "truncated": False, "refused": ""}
    place = folder / writer
    place.mkdir()
    table = pl.DataFrame([{**nothing, "quality": None, **row} for row in rows], schema=RESPONSES_SCHEMA)
    table.write_parquet(place / files.RESPONSES)
    return place


def answers(folder: Path, quality: float | None = None) -> dict[str, Path]:
    own = responses(
        folder,
        "own",
        {"prompt_id": ONE, "place": 1, "response": "first"},
        {"prompt_id": TWO, "place": 0, "response": " ", "quality": quality},
    )
    far = responses(
        folder,
        "far",
        {"prompt_id": ONE, "place": 0, "response": "", "refused": "status 400: no"},
        {"prompt_id": TWO, "place": 1, "response": "second", "principle": "", "system_prompt": ""},
    )
    return {"instructions": instructions(folder), "responses_own": own, "responses_far": far}


def test_each_prompt_is_asked_once_and_keeps_its_number_and_source(tmp_path: Path) -> None:
    found = asked_prompts(instructions(tmp_path))
    assert found.select("prompt_id", "row", "source").rows() == [(ONE, 0, "quiz"), (TWO, 3, "")]


def test_answers_stand_in_their_drawn_order_and_one_that_did_not_come_is_left_out_and_counted(tmp_path: Path) -> None:
    table, facts = answers_table(answers(tmp_path), ASPECTS)
    check(table, ASPECTS)
    shown = table.select("row", "completion", "model", "principle", "system_prompt", "response").rows()
    assert shown == [
        (0, 0, "own", "honesty", "Be honest.", "first"),
        (3, 0, "own", "honesty", "Be honest.", " "),
        (3, 1, "far", "", "", "second"),
    ]
    assert table["rating_honesty"].null_count() == table["overall_score"].null_count() == 3
    assert facts == {
        "records": 2,
        "bad_rows": 0,
        "answers/far": 1,
        "answers/own": 2,
        "empty/far": 0,
        "empty/own": 1,
        "principle/none": 1,
        "principle/honesty": 2,
        "failed/own": 0,
        "failed/far": 1,
        "failed_answers": {"status 400: no": 1},
    }


def test_the_true_quality_is_there_where_it_is_known_of_all(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    assert LATENT_QUALITY not in answers_table(answers(tmp_path / "some", 0.5), ASPECTS).table.columns
    places = answers(tmp_path)
    for name in ("own", "far"):
        path = tmp_path / name / files.RESPONSES
        pl.read_parquet(path).with_columns(quality=pl.lit(0.25)).write_parquet(path)
    table = answers_table(places, ASPECTS).table
    check(table, ASPECTS)
    assert table[LATENT_QUALITY].to_list() == [0.25] * 3


def annotations(folder: Path, name: str, values: list[float | None], reasons: list[str], said: list[str]) -> Path:
    place = folder / f"annotations_{name}"
    place.mkdir()
    ids = pl.DataFrame({"row": [0, 3, 3], "completion": [0, 0, 1]}, schema={"row": pl.Int64, "completion": pl.Int64})
    column = pl.Series(name, values, dtype=pl.Float64)
    ids.with_columns(column).write_parquet(place / files.COLUMNS)
    asked = ids[[0, 2]]  # nobody is asked about an empty answer
    verdicts = asked.with_columns(
        column[[0, 2]].alias("value"), pl.Series("reason", reasons), pl.Series("rationale", said)
    )
    verdicts.write_parquet(place / files.ANNOTATIONS)
    return place


def test_ratings_overall_scores_and_critiques_are_the_judges_and_what_lacks_is_counted_by_reason(
    tmp_path: Path,
) -> None:
    place = tmp_path / "answers"
    place.mkdir()
    answers_table(answers(tmp_path), ASPECTS).table.write_parquet(place / files.COMPLETIONS)
    said = {
        "annotations_helpfulness": annotations(tmp_path, "helpfulness", [4.0, None, 2.0], ["", ""], ["", ""]),
        "annotations_honesty": annotations(tmp_path, "honesty", [5.0, None, None], ["", "no rating"], ["", ""]),
        "annotations_overall": annotations(tmp_path, "overall", [7.0, None, 3.0], ["", ""], ["Good.", "Poor."]),
    }
    table, facts = rated_table(place, said, ASPECTS)
    check(table, ASPECTS)
    assert table["rating_helpfulness"].to_list() == [4.0, None, 2.0]
    assert table["overall_score"].to_list() == [7.0, None, 3.0]
    assert table["critique"].to_list() == ["Good.", "", "Poor."]
    assert facts["missing_ratings"] == {
        "helpfulness": {"empty answer": 1},
        "honesty": {"empty answer": 1, "no rating": 1},
        "overall": {"empty answer": 1},
    }
    assert (facts["records"], facts["answers/own"], facts["empty/own"]) == (2, 2, 1)
