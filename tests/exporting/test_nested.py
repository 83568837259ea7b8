"""OpenBMB's nested layout: `data=ultrafeedback` reads it back to the identical completions table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from notus_exp.errors import UserError
from notus_exp.exporting.handing_over import ExportRequest, export
from notus_exp.exporting.nested import nested
from support import feedback_stage
from support.exported_runs import RUN, feedback, made_run, read_lines, without_turns

FILE = "data/train-00000-of-00001.jsonl"


def read_back(records: Path, folder: Path, *aspects: str) -> pl.DataFrame:
    named = f"data.aspects=[{','.join(aspects)}]"
    return feedback_stage.made(folder, "data=ultrafeedback", f"data.path={records}", named).table


def test_the_completions_are_read_back_to_the_identical_table(tmp_path: Path) -> None:
    rows = without_turns(feedback()).with_columns(critique=pl.lit('It says "no",\nand\\or yes: é'))
    made_run(tmp_path / "outputs", rows)
    report = export(ExportRequest(RUN, tmp_path / "out", "openbmb", tmp_path / "outputs"))
    assert report.data["rows"] == {"train": 5}
    assert_frame_equal(read_back(tmp_path / "out" / FILE, tmp_path, "helpfulness", "honesty"), rows)


def test_the_records_have_the_fields_of_the_original(tmp_path: Path) -> None:
    made = nested(without_turns(feedback()))
    made.records.write_ndjson(tmp_path / "x.jsonl")
    first = read_lines(tmp_path / "x.jsonl")[0]
    assert (first["source"], first["instruction"]) == ("made", "Name a river, number 0.")
    assert first["models"] == ["a", "b", "c"]
    assert first["completions"][1] == {
        "model": "b",
        "principle": "",
        "custom_system_prompt": "",
        "response": "The Danube 0.",
        "annotations": {"helpfulness": {"Rating": "3"}, "honesty": {"Rating": "N/A"}},
        "overall_score": 4.5,
        "critique": "",
    }
    assert (made.renumbered, made.left_out) == (False, [])


def test_the_simulated_world_is_read_back_but_for_what_the_layout_has_no_place_for(tmp_path: Path) -> None:
    world = feedback_stage.made(tmp_path / "world", "data=simulated", "data.prompts=30").table
    made = nested(world)
    assert made.left_out == ["latent_quality"]
    made.records.write_ndjson(tmp_path / "x.jsonl")
    aspects = [name.removeprefix("rating_") for name in world.columns if name.startswith("rating_")]
    assert_frame_equal(read_back(tmp_path / "x.jsonl", tmp_path, *aspects), world.drop("latent_quality"))


def test_a_table_with_gaps_in_its_numbers_is_numbered_anew_and_says_so(tmp_path: Path) -> None:
    rows = without_turns(feedback())
    apart = rows.with_columns(row=pl.col("row") * 3 + 1)
    made = nested(apart)
    assert made.renumbered
    made.records.write_ndjson(tmp_path / "x.jsonl")
    assert_frame_equal(read_back(tmp_path / "x.jsonl", tmp_path, "helpfulness", "honesty"), rows)
    assert nested(rows.filter(pl.col("completion") > 0)).renumbered


def test_prompts_with_earlier_turns_are_refused_with_the_layouts_that_hold_them() -> None:
    with pytest.raises(UserError, match="1 prompts of this run have earlier turns") as refused:
        nested(feedback())
    assert "--format trl" in refused.value.hint


def test_feedback_without_ratings_has_no_annotations(tmp_path: Path) -> None:
    rows = without_turns(feedback()).drop("rating_helpfulness", "rating_honesty")
    nested(rows).records.write_ndjson(tmp_path / "x.jsonl")
    assert "annotations" not in read_lines(tmp_path / "x.jsonl")[0]["completions"][0]
    assert_frame_equal(read_back(tmp_path / "x.jsonl", tmp_path), rows)
