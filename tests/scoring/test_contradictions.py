"""Files of scores that are joined by numbers and say by something else that they are of other completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.disk.events import EventWriter
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.scoring import make_columns
from notus_exp.scoring.score_files import completion_digest, join_scores, read_scores
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ColumnsSettings
from support.curation_tables import completion, prompt, table
from support.recipes import machine

ASKED = {"Name a colour.": ("Red.", "Blue."), "Name a fruit.": ("Plum.", "Fig.")}
COMPLETIONS = table(*(prompt(text, *map(completion, said)) for text, said in ASKED.items()))
ROWS: list[dict[str, Any]] = [
    {
        "row": row, "completion": place, "prompt_id": prompt_id(text), "prompt": text, "response": said,
        "digest": completion_digest([text], said), "score": float(2 * row + place),
    }
    for row, (text, both) in enumerate(ASKED.items())
    for place, said in enumerate(both)
]  # fmt: skip


def made(
    folder: Path,
    rows: list[dict[str, Any]],
    by: str | None,
    columns: tuple[str, ...],
    data: pl.DataFrame = COMPLETIONS,
) -> list[float | None]:
    """Return the column that the stage makes of a file with these columns of the rows."""
    data.write_parquet(folder / "completions.parquet")
    path = folder / "s.jsonl"
    path.write_text("".join(json.dumps({name: row[name] for name in (*columns, "score")}) + "\n" for row in rows))
    settings = ColumnsSettings({"x": {"file": "", "column": "score", "by": by}})
    context = Context(EventWriter("columns", folder / "e"), machine(), folder, {"scores.x": [str(path)]})
    make_columns.run(settings, {"feedback": folder}, folder, context)
    return pl.read_parquet(folder / "columns.parquet")["x"].to_list()


def shifted(**moved: int) -> list[dict[str, Any]]:
    """The rows with some of their numbers moved on, in a circle."""
    return [row | {name: (row[name] + by) % 2 for name, by in moved.items()} for row in ROWS]


NUMBERS = ("row", "completion")


@pytest.mark.parametrize("column", ["prompt_id", "prompt", "response", "digest"])
def test_rows_that_another_column_contradicts_end_the_run(tmp_path: Path, column: str) -> None:
    assert made(tmp_path, ROWS, "row", (*NUMBERS, column)) == [0, 1, 2, 3]
    with pytest.raises(
        UserError, match=r"scores\.x: 4 of 4 rows of .* than by their other columns: row 1, compl"
    ) as it:
        made(tmp_path, shifted(row=1), "row", (*NUMBERS, column))
    assert f"has {column} '{ROWS[0][column][:60]}' in the file and '{ROWS[2][column][:60]}' here" in it.value.message


def test_one_row_of_many_is_enough_and_the_remedy_names_a_way_that_does_not_move(tmp_path: Path) -> None:
    rows = [*ROWS[:3], ROWS[3] | {"prompt": "Name a tree."}]
    with pytest.raises(UserError, match=r"1 of 4 rows .* row 1, completion 1 has prompt 'Name a tree\.'") as caught:
        made(tmp_path, rows, "row", (*NUMBERS, "prompt_id", "prompt", "response"))
    assert "by: texts" in caught.value.hint
    with pytest.raises(UserError, match=r"has prompt 'Name a tree\.'") as caught:
        made(tmp_path, rows, None, (*NUMBERS, "prompt"))  # joined by the only way that the file has
    assert "by:" not in caught.value.hint


def test_an_order_of_completions_that_moved_is_told_where_it_is_joined_by_the_prompts_id(tmp_path: Path) -> None:
    moved = shifted(completion=1)
    for column in ("response", "digest"):
        with pytest.raises(UserError, match="name another completion by prompt_id and completion than"):
            made(tmp_path, moved, "prompt_id", ("prompt_id", "completion", column))
    assert made(tmp_path, moved, "digest", (*NUMBERS, "prompt_id", "digest")) == [0, 1, 2, 3]
    assert made(tmp_path, moved, "texts", (*NUMBERS, "prompt", "response")) == [0, 1, 2, 3]


def test_white_space_what_is_missing_and_what_is_no_text_contradict_nothing(tmp_path: Path) -> None:
    loose = [row | {"prompt": f" {row['prompt']}\n", "response": None, "prompt_id": 7} for row in ROWS]
    assert made(tmp_path, loose, "row", (*NUMBERS, "prompt_id", "prompt", "response")) == [0, 1, 2, 3]
    beyond = [*ROWS, {**ROWS[0], "row": 9, "prompt": "Of no completion here."}]
    assert made(tmp_path, beyond, "row", (*NUMBERS, "prompt")) == [0, 1, 2, 3]


def test_a_prompt_of_several_turns_is_compared_by_its_digest_and_not_by_one_of_its_texts(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    kind = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    several = COMPLETIONS.with_columns(pl.Series("context", [turns] * 2 + [[]] * 2, dtype=kind))
    rows = [row | {"prompt": "Hi.\nHello."} for row in ROWS[:2]] + ROWS[2:]
    assert made(tmp_path, rows, "row", (*NUMBERS, "prompt"), several) == [0, 1, 2, 3]
    with pytest.raises(UserError, match="2 of 4 rows"):
        made(tmp_path, ROWS, "row", (*NUMBERS, "digest"), several)


def test_the_way_that_is_proposed_is_the_one_that_moves_least(tmp_path: Path) -> None:
    for columns, way in (
        ((*NUMBERS, "prompt_id", "prompt", "response", "digest"), "digest"),
        ((*NUMBERS, "prompt_id", "prompt", "response"), "texts"),
        ((*NUMBERS, "prompt_id"), "prompt_id"),
    ):
        with pytest.raises(UserError, match="in several ways") as caught:
            made(tmp_path, ROWS, None, columns)
        assert f"such as by: {way}" in caught.value.hint


TWICE = pl.concat([COMPLETIONS, COMPLETIONS.filter(pl.col("row") == 0).with_columns(row=pl.lit(5, pl.Int64))])
"""A mix whose sources share a prompt."""


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        (("prompt_id", "completion"), "digest, texts, or row and completion"),
        (("prompt", "response"), "apart: row and completion"),
        (("digest",), "apart: row and completion"),
    ],
)
def test_two_scores_of_what_a_file_cannot_tell_apart_say_so(
    tmp_path: Path, columns: tuple[str, ...], remedy: str
) -> None:
    rows = [{name: row[name] for name in columns} | {"score": score} for row, score in ((ROWS[0], 0), (ROWS[0], 86))]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = read_scores(path, "score", None, "scores.x")
    with pytest.raises(UserError, match=r"is 2 completions of these data, those of the rows 0 and 5, and .* 0 and 86"):
        join_scores(TWICE, scores, "scores.x")
    with pytest.raises(UserError, match="has two scores, 0 and 86"):
        join_scores(COMPLETIONS, scores, "scores.x")
    with pytest.raises(UserError) as caught:
        join_scores(TWICE, scores, "scores.x")
    assert remedy in caught.value.hint
