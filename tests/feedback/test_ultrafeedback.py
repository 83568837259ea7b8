import dataclasses
import json

import polars as pl
import pytest

from notus_exp.config.data_settings import RepeatedPrompts, UltraFeedback
from notus_exp.errors import UserError
from notus_exp.feedback.records import read_files
from notus_exp.feedback.table import build
from notus_exp.feedback.ultrafeedback import read
from support.places import REPLAY

ULTRA = REPLAY / "ultrafeedback"
replay = pytest.mark.skipif(not ULTRA.exists(), reason="the replay data is not beside the checkout")
ASPECTS = ["helpfulness", "honesty", "instruction_following", "truthfulness"]


def spec(aspects):
    return UltraFeedback("ultrafeedback", aspects, 0, None, None, "train", "main", RepeatedPrompts.strip)


def parse(file, aspects=ASPECTS):
    parsed = read(spec(aspects), read_files([file], lambda share: None))
    return parsed, build(parsed.rows, aspects)


def parse_rows(tmp_path, *rows, aspects=("a", "b")):
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return parse(file, list(aspects))


def record(*completions, **fields):
    return {"instruction": "ask", "completions": list(completions)} | fields


@replay
def test_row0_has_the_published_means_and_scores_by_each_completions_own_model():
    parsed, table = parse(ULTRA / "row0_evol_instruct.json")
    assert (parsed.records, parsed.malformed) == (1, [])
    means = dict(table.select("model", pl.mean_horizontal([f"rating_{name}" for name in ASPECTS])).iter_rows())
    assert means == {"alpaca-7b": 1.25, "starchat": 5.0, "vicuna-33b": 4.0, "pythia-12b": 1.25}
    scores = dict(table.select("model", "overall_score").iter_rows())
    assert scores == {"alpaca-7b": 4.0, "starchat": 7.5, "vicuna-33b": 6.0, "pythia-12b": 3.0}
    assert table["source"].unique().to_list() == ["evol_instruct"]
    assert table["critique"].str.len_chars().min() > 0


@replay
def test_rows_without_aspects_and_models_keep_their_scores():
    parsed, table = parse(ULTRA / "critique_25x4.jsonl")
    assert (parsed.records, parsed.malformed, table.height) == (25, [], 100)
    assert table["prompt_id"].n_unique() == 25
    assert table["overall_score"].null_count() == 0
    assert table["overall_score"].head(1).item() == 4.0
    assert all(table[f"rating_{name}"].null_count() == 100 for name in ASPECTS)
    assert table["model"].unique().to_list() == [""]


@replay
def test_the_annotation_with_types_and_rationales_is_read():
    _, table = parse(ULTRA / "format_example.json")
    (row,) = table.iter_rows(named=True)
    assert (row["model"], row["principle"], row["source"]) == ("falcon-40b-instruct", "helpfulness", "sharegpt")
    assert row["system_prompt"].startswith("As an AI assistant")
    assert [row[f"rating_{name}"] for name in ASPECTS] == [3.0, 3.0, 2.0, 3.0]


def test_every_layout_of_an_annotation_gives_the_same_ratings(tmp_path):
    _, table = parse_rows(
        tmp_path,
        record(
            {"response": "0", "annotations": {"a": {"Rating": "5"}, "b": {"Rating": "N/A"}}},
            {"response": "1", "annotations": {"a": [{"Rating": "5"}], "b": [{"Rating": None}]}},
            {"response": "2", "annotations": {"a": {"Rating": 5, "Rationale": "good"}}},
            {"response": "3", "annotations": [{"a": {"Rating": 5.0}, "b": []}]},
            {"response": "4", "annotations": {"b": None, "a": {"Rating": "5.0"}}},
        ),
    )
    assert table["rating_a"].to_list() == [5.0] * 5
    assert table["rating_b"].to_list() == [None] * 5


def test_a_completion_without_annotations_has_no_ratings(tmp_path):
    _, table = parse_rows(tmp_path, record({"response": "x"}, {"response": "y", "annotations": None}))
    assert table.select("rating_a", "rating_b").null_count().row(0) == (2, 2)


def test_scores_may_be_texts_or_missing_and_texts_may_be_missing(tmp_path):
    _, table = parse_rows(
        tmp_path,
        record(
            {"response": "", "overall_score": "7.5", "critique": "fair", "fine-grained_score": 3.2},
            {"response": "y", "overall_score": "N/A", "principle": None},
            {"response": "z", "custom_system_prompt": "be kind", "principle": "honesty"},
            source=None,
        ),
    )
    assert table["overall_score"].to_list() == [7.5, None, None]
    assert table["critique"].to_list() == ["fair", "", ""]
    assert table["system_prompt"].to_list() == ["", "", "be kind"]
    assert table["principle"].to_list() == ["", "", "honesty"]
    assert table["source"].to_list() == [""] * 3


def test_the_list_of_models_counts_only_for_completions_without_one_and_only_if_it_matches(tmp_path):
    own = {"response": "x", "model": "own"}
    other = {"response": "y"}
    _, table = parse_rows(
        tmp_path,
        record(own, other, models=["p", "q"]),
        record(own, other, models=["p", "q", "r"], instruction="longer list"),
    )
    assert table["model"].to_list() == ["own", "q", "own", ""]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"completions": []}, "instruction is missing"),
        (record({"response": "x"}, instruction=" "), "instruction is empty"),
        (record({"response": "x"}, instruction=5), "instruction is 5, expected text"),
        ({"instruction": "ask"}, "completions is missing"),
        ({"instruction": "ask", "completions": {"response": "x"}}, "completions is not a list"),
        (record("text"), r"completions\[0\] is not an object"),
        (record({"response": "x"}, {"model": "m"}), r"completions\[1\]\.response is missing"),
        (record({"response": "x", "annotations": {"a": {"Rating": "five"}}}), r"annotations\.a\.Rating is 'five'"),
        (record({"response": "x", "annotations": {"a": 5}}), r"annotations\.a is not an object"),
        (record({"response": "x", "annotations": {"a": [{}, {}]}}), "2 entries"),
        (record({"response": "x", "overall_score": float("inf")}), "overall_score is inf"),
        (record({"response": "\ud83d"}), "surrogate"),
    ],
)
def test_a_malformed_record_is_set_aside_as_a_whole_with_its_line_reason_and_text(row, reason, tmp_path):
    import re

    parsed, table = parse_rows(tmp_path, record({"response": "good"}), row, record({"response": "last"}))
    (bad,) = parsed.malformed
    assert (bad.file, bad.line) == ("data.jsonl", 2)
    assert re.search(reason, bad.reason), bad.reason
    assert bad.raw == json.dumps(row)
    assert table["row"].to_list() == [0, 2]


def test_a_record_with_an_empty_list_of_completions_is_counted_and_not_malformed(tmp_path):
    parsed, table = parse_rows(tmp_path, record(), record({"response": "x"}))
    assert parsed.malformed == []
    assert parsed.facts == {"records_without_completions": 1}
    assert table["row"].to_list() == [1]


def test_a_misspelt_aspect_is_an_error_and_not_a_rating_that_is_always_missing(tmp_path):
    row = record({"response": "x", "annotations": {"honesty": {"Rating": "5"}, "helpfulness": {"Rating": "5"}}})
    with pytest.raises(UserError, match="'honestly'") as error:
        parse_rows(tmp_path, row, aspects=["honestly", "helpfulness"])
    assert error.value.hint.startswith("did you mean 'honesty'?")


def test_data_that_merely_lacks_an_aspect_is_read(tmp_path):
    row = record({"response": "x", "annotations": {"honesty": {"Rating": "5"}}})
    _, table = parse_rows(tmp_path, row, aspects=["honesty", "helpfulness"])
    assert table.select("rating_honesty", "rating_helpfulness").row(0) == (5.0, None)


def test_parquet_json_and_jsonl_give_equal_tables(tmp_path):
    rows = [
        record({"response": "x", "model": "m", "annotations": {"a": {"Rating": "N/A"}, "b": {"Rating": "3"}}}),
        record({"response": "y", "annotations": {"a": {"Rating": "2"}}, "overall_score": 3.5}, instruction="ä"),
    ]
    _, expected = parse_rows(tmp_path, *rows)
    (tmp_path / "data.json").write_text(json.dumps(rows, indent=2))
    pl.DataFrame(rows).write_parquet(tmp_path / "data.parquet")
    for name in ("data.json", "data.parquet"):
        _, table = parse(tmp_path / name, ["a", "b"])
        assert table.equals(expected), name


def test_responses_that_repeat_the_instruction_are_stripped_or_kept_and_told_either_way(tmp_path):
    file = tmp_path / "data.jsonl"
    row = record({"response": "ask\nfirst"}, {"response": "User: ask\nAssistant: second"}, {"response": "third"})
    file.write_text(json.dumps(row) + "\n")
    _, table = parse(file, ["a"])
    assert table["response"].to_list() == ["first", "second", "third"]
    keep = dataclasses.replace(spec(["a"]), repeated_prompts=RepeatedPrompts.keep)
    kept = read(keep, read_files([file], lambda share: None)).rows
    assert [row.response for row in kept] == ["ask\nfirst", "User: ask\nAssistant: second", "third"]
    assert [row.repeats for row in kept] == ["kept/repeated_prompt", "kept/transcript", ""]
