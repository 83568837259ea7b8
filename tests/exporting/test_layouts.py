"""The pairs in the layouts of others: the option of `data` that is named for each reads the same pairs back."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl
import pytest

from notus_exp import export as door
from notus_exp.exporting.chosen_run import chosen_run
from notus_exp.exporting.handing_over import NESTED, TRAINERS, ExportRequest, export
from notus_exp.exporting.layouts import LAYOUTS, READ_BY, cleaned, conversational, everything, for_trainers, handbook
from notus_exp.exporting.scored_pairs import scored_pairs
from notus_exp.feedback.prompt_turns import prompt_turns
from support import feedback_stage
from support.exported_runs import RUN, feedback, made_run

HANDBOOK = ["prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"]
ARGILLA = ["source", "prompt", "chosen", "chosen-rating", "chosen-model", "rejected", "rejected-rating",
           "rejected-model"]  # fmt: skip
SCORED = pl.DataFrame({"row": [0, 0, 1], "completion": [0, 1, 0], "judged": [0.75, None, 0.5]})


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts") / "outputs"
    made_run(folder, scores=SCORED)
    return folder


@pytest.fixture(scope="module")
def pairs(outputs: Path) -> pl.DataFrame:
    return scored_pairs(chosen_run(RUN, outputs).run)


def test_every_format_of_the_door_is_made_by_something() -> None:
    assert set(door.FORMATS) == {NESTED, *LAYOUTS, *TRAINERS}
    assert set(READ_BY) == {NESTED, *LAYOUTS}
    parser: argparse.ArgumentParser = door._parser()
    assert parser.parse_args(["RUN", "--to", "x", "--format", "h4"]).public is False


def test_the_pairs_have_all_scores_of_both_completions(pairs: pl.DataFrame) -> None:
    first = pairs.row(0, named=True)
    assert (first["chosen_completion"], first["rejected_completion"]) == (0, 2)
    assert (first["chosen_rating_helpfulness"], first["rejected_rating_honesty"]) == (5.0, 0.30000000000000004)
    assert (first["chosen_overall_score"], first["rejected_overall_score"]) == (9.0, None)
    assert (first["chosen_column_judged"], first["rejected_column_judged"]) == (0.75, None)
    assert pairs["chosen_column_judged"].to_list() == [0.75, 0.5, None, None, None, None]
    assert (pairs["chosen_system_prompt"][5], pairs["rejected_principle"][5]) == ("You are brief.", "conversation")


@pytest.mark.parametrize("form", ["trl", "h4", "argilla", "parquet"])
def test_a_layout_is_read_back_to_the_same_pairs(form: str, outputs: Path, pairs: pl.DataFrame, tmp_path: Path) -> None:
    export(ExportRequest(RUN, tmp_path / "out", form, outputs, data_only=True))
    files = sorted((tmp_path / "out/data").iterdir())
    assert [file.name for file in files] == [f"{name}-00000-of-00001.parquet" for name in sorted(names(form))]
    one = tmp_path / "all.parquet"
    held = {name: pl.read_parquet(tmp_path / f"out/data/{name}-00000-of-00001.parquet") for name in names(form)}
    pl.concat(held.values()).write_parquet(one)
    read = feedback_stage.made(tmp_path, READ_BY[form], f"data.path={one}", "data.repeated_prompts=keep").table
    for side, place in (("chosen", 0), ("rejected", 1)):
        rows = read.filter(pl.col("completion") == place)
        assert rows["response"].to_list() == pairs[side].list.first().struct.field("content").to_list()
        assert rows["prompt_id"].to_list() == pairs["prompt_id"].to_list()
        assert prompt_turns(rows).to_list() == pairs["prompt"].to_list()
        if form in ("h4", "argilla"):
            assert rows["overall_score"].to_list() == pairs[f"{side}_score"].to_list()
        if form == "argilla":
            assert rows["model"].to_list() == pairs[f"{side}_model"].to_list()
            assert rows["source"].to_list() == pairs["source"].to_list()


def names(form: str) -> list[str]:
    return ["train_prefs", "test_prefs"] if form == "h4" else ["train", "validation", "test"]


def test_columns_and_splits_are_those_of_the_published_sets(pairs: pl.DataFrame) -> None:
    found = handbook(pairs)
    assert {split: (table.columns, table.height) for split, table in found.items()} == {
        "train_prefs": (HANDBOOK, 4),
        "test_prefs": (HANDBOOK, 2),
    }
    turned = found["test_prefs"].row(0, named=True)
    assert turned["prompt"] == "And of Peru?"
    assert [turn["role"] for turn in turned["chosen"]] == ["user", "assistant", "user", "assistant"]
    assert turned["messages"] == turned["chosen"]
    assert cleaned(pairs)["train"].columns == ARGILLA
    assert conversational(pairs)["train"].columns == ["prompt", "chosen", "rejected", "prompt_id", *HANDBOOK[-2:]]


def test_everything_is_every_column(pairs: pl.DataFrame) -> None:
    assert pl.concat(everything(pairs).values()).equals(pairs)


def test_trainers_are_given_the_recipes_system_turn_where_the_data_has_none_and_no_tests(pairs: pl.DataFrame) -> None:
    found = for_trainers(pairs, "")
    assert {split: table.height for split, table in found.items()} == {"train": 4, "validation": 1}
    assert found["train"]["messages"][0].to_list() == [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Name a river, number 0."},
    ]
    assert found["train"]["chosen"][0] == {"role": "assistant", "content": "The Ucayali 0."}
    everywhere = pairs.with_columns(split=pl.lit("train"))
    assert for_trainers(everywhere, "x")["train"]["messages"][5].to_list() == pairs["prompt"][5].to_list()
    assert for_trainers(everywhere, None)["train"]["messages"].to_list() == pairs["prompt"].to_list()


def test_pairs_of_before_that_do_not_name_their_completions_have_their_own_scores(outputs: Path) -> None:
    path = outputs / "artifacts/pairs-pairs/pairs.parquet"
    before = pl.read_parquet(path)
    try:
        before.drop("chosen_completion", "rejected_completion").write_parquet(path)
        assert "chosen_rating_honesty" not in scored_pairs(chosen_run(RUN, outputs).run).columns
    finally:
        before.write_parquet(path)


def test_the_feedback_of_these_tests_is_what_they_say() -> None:
    assert feedback()["row"].n_unique() == 6
