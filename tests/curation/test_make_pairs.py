"""The stage `pairs` with scores that are joined, and what its report says of several pairs and of missing values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from notus_exp.contracts.curation_file import read_curation
from notus_exp.curation import make_pairs
from notus_exp.curation.make_pairs import run
from notus_exp.curation.pairs import curate
from notus_exp.disk.events import EventWriter
from notus_exp.stages.context import Context
from notus_exp.stages.settings import PairsSettings
from support.configs import composed
from support.curation_tables import completion, prompt, settings, table, texts, world

ROWS = table(
    prompt("one", completion("a", 5, 5), completion("b", 3, 3), completion("c", 1, 1)),
    prompt("two", completion("d", 5, 5), completion("e", 3, 3)),
)
SCORES = pl.DataFrame({"row": [1, 0, 0, 0], "completion": [0, 2, 0, 1], "armorm": [0.5, 0.9, 0.1, None]})


def made(folder: Path, spec: PairsSettings) -> Path:
    folder.mkdir(exist_ok=True)
    ROWS.write_parquet(folder / "completions.parquet")
    SCORES.write_parquet(folder / "columns.parquet")
    context = Context(EventWriter("pairs", folder / "events.jsonl"), composed("hardware=cpu").hardware, folder)
    run(spec, {"feedback": folder, "columns": folder}, folder, context)
    return folder


def test_joined_scores_are_found_by_row_and_completion_and_are_missing_where_there_are_none(tmp_path: Path) -> None:
    spec = replace(settings("expression", score="COALESCE(armorm, average / 10)"), columns=["armorm"])
    pairs = pl.read_parquet(made(tmp_path / "a", spec) / "pairs.parquet")
    assert texts(pairs) == [("c", "a"), ("d", "e")]
    spec = replace(settings(where="chosen_armorm < rejected_armorm"), columns=["armorm"])
    folder = made(tmp_path / "b", spec)
    assert texts(pl.read_parquet(folder / "pairs.parquet")) == [("a", "c")]
    counts = read_curation(folder / "curation.json")["counts"]
    assert counts["missing_values"] == {"filters.where": {"missing_input": 1}}
    assert read_curation(folder / "curation.json")["notes"] == [
        "filters.where has no value for 1 pair: missing input 1"
    ]
    page = (folder / "curation.html").read_text(encoding="utf-8")
    assert "Values that are missing" in page
    assert "missing input" in page


def test_the_report_of_several_pairs_adds_up(tmp_path: Path) -> None:
    folder = made(tmp_path, settings(per_prompt="all_worse", min_margin=3.0))
    counts = read_curation(folder / "curation.json")["counts"]
    assert (counts["pairs_out"], counts["prompts_out"], counts["pairs_dropped"]) == (1, 1, {"below_min_margin": 1})
    page = (folder / "curation.html").read_text(encoding="utf-8")
    assert "= prompts with pairs" in page
    assert "Pairs of these prompts" in page


@pytest.mark.parametrize("per_prompt", ["1", "all_worse"])
def test_many_pairs_are_written_a_part_at_a_time_and_are_the_same(
    per_prompt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = world(60, 3)
    spec = settings(rejected="random", per_prompt=per_prompt, weight="margin")
    reports = []
    for number, most in enumerate((10**6, 7, 7)):
        monkeypatch.setattr(make_pairs, "AT_ONCE", most)
        folder = tmp_path / str(number)
        folder.mkdir()
        frame.write_parquet(folder / "completions.parquet")
        context = Context(EventWriter("pairs", folder / "events.jsonl"), composed("hardware=cpu").hardware, folder)
        run(spec, {"feedback": folder}, folder, context)
        reports.append([(folder / name).read_bytes() for name in ("curation.json", "curation.html", "pairs.parquet")])
        assert_frame_equal(pl.read_parquet(folder / "pairs.parquet"), curate(frame, spec).pairs)
        made = {path.name for path in folder.iterdir()}
        assert made == {"completions.parquet", "curation.html", "curation.json", "pairs.parquet"}
    assert reports[0][:2] == reports[1][:2]
    assert reports[1] == reports[2]


def test_a_joined_score_does_not_move_which_of_repeated_prompts_stays() -> None:
    twins = [prompt(f"p{n // 2}", completion(f"a{n}", 5, 5), completion("b", 1, 1), row=n) for n in range(40)]
    frame = table(*twins)
    spec = settings(duplicate_prompts=True)
    expected = curate(frame, spec).pairs
    scores = pl.Series("column:armorm", [float(number * 7 % 13) for number in range(frame.height)])
    found = curate(frame.with_columns(scores), replace(spec, columns=["armorm"])).pairs
    assert_frame_equal(found, expected)
