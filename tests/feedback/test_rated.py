import json

import pytest

from notus_exp.config.data_settings import Rated, RepeatedPrompts
from notus_exp.errors import UserError
from notus_exp.feedback.rated import read
from notus_exp.feedback.records import read_files
from notus_exp.feedback.table import build, check
from support.places import REPLAY

HELPSTEER = REPLAY / "helpsteer/helpsteer_500.jsonl"
ASPECTS = ["helpfulness", "correctness", "coherence"]


def spec(aspects=("good",), **columns):
    names = {"prompt_column": "prompt", "response_column": "response", "model_column": None, "source_column": None}
    names |= {"overall_column": "good", "critique_column": None} | columns
    return Rated("rated", list(aspects), 0, None, None, "train", "main", RepeatedPrompts.strip, **names)


def parse(tmp_path, rows, settings):
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parsed = read(settings, read_files([file], lambda share: None))
    return parsed, build(parsed.rows, settings.aspects)


@pytest.mark.skipif(not HELPSTEER.exists(), reason="the replay data is not beside the checkout")
def test_helpsteer_groups_its_500_completions_under_139_prompts_on_their_own_scale():
    settings = spec(ASPECTS, overall_column="helpfulness")
    parsed = read(settings, read_files([HELPSTEER], lambda share: None))
    table = build(parsed.rows, ASPECTS)
    check(table, ASPECTS)
    assert (parsed.records, parsed.malformed, table.height) == (500, [], 500)
    assert table["prompt_id"].n_unique() == table["row"].n_unique() == 139
    assert table.row(0, named=True)["rating_correctness"] == 4.0
    assert table["overall_score"].to_list() == table["rating_helpfulness"].to_list()
    assert table["overall_score"].min() == 0.0 and table["overall_score"].max() == 4.0


def test_records_of_a_prompt_are_grouped_under_its_first_row_wherever_they_are(tmp_path):
    rows = [
        {"prompt": "one", "response": "a", "good": 1},
        {"prompt": "two", "response": "b", "good": "2"},
        {"prompt": "one", "response": "c", "good": "N/A"},
        {"prompt": "two", "response": "d"},
    ]
    _, table = parse(tmp_path, rows, spec())
    assert table.select("row", "completion", "response", "rating_good").rows() == [
        (0, 0, "a", 1.0), (0, 1, "c", None), (1, 0, "b", 2.0), (1, 1, "d", None),
    ]  # fmt: skip


def test_all_columns_can_be_named(tmp_path):
    row = {"q": "ask", "a": "answer", "who": "m", "from": "s", "score": 9, "why": "good", "clear": 3}
    columns = {"prompt_column": "q", "response_column": "a", "model_column": "who", "source_column": "from"}
    _, table = parse(tmp_path, [row], spec(["clear"], **columns, overall_column="score", critique_column="why"))
    assert table.drop("prompt_id", "principle", "system_prompt").row(0) == (
        0, "s", "ask", 0, "m", "answer", 3.0, 9.0, "good",
    )  # fmt: skip


def test_without_an_overall_column_the_score_is_missing(tmp_path):
    _, table = parse(tmp_path, [{"prompt": "p", "response": "r", "good": 1}], spec(overall_column=None))
    assert table["overall_score"].to_list() == [None]


def test_only_the_malformed_record_is_set_aside(tmp_path):
    rows = [
        {"prompt": "one", "response": "a", "good": "bad"},
        {"prompt": "one", "response": "b", "good": 2},
        {"prompt": None, "response": "c", "good": 2},
    ]
    parsed, table = parse(tmp_path, rows, spec())
    assert [(bad.line, bad.reason.split(",")[0]) for bad in parsed.malformed] == [
        (1, "good is 'bad'"),
        (3, "prompt is missing"),
    ]
    assert table.select("row", "completion", "response").rows() == [(1, 0, "b")]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (spec(prompt_column="promt"), "data.prompt_column='promt'"),
        (spec(["goood"]), "data.aspects='goood'"),
        (spec(model_column="models"), "data.model_column='models'"),
        (spec(critique_column="why"), "data.critique_column='why'"),
    ],
)
def test_a_missing_column_is_an_error_that_names_key_and_column(settings, named, tmp_path):
    with pytest.raises(UserError) as error:
        parse(tmp_path, [{"prompt": "one", "response": "a", "good": 1}], settings)
    assert named in error.value.message
    assert "columns found: good, prompt, response" in error.value.hint


def test_a_record_whose_response_is_a_transcript_is_set_aside_and_the_others_count_on(tmp_path):
    rows = [
        {"prompt": "one", "response": "one\na", "good": 1},
        {"prompt": "one", "response": "Human: two\nAssistant: b", "good": 2},
        {"prompt": "one", "response": "c", "good": 3},
    ]
    parsed, table = parse(tmp_path, rows, spec())
    assert table.select("completion", "response").rows() == [(0, "a"), (1, "c")]
    assert [(bad.line, bad.rule) for bad in parsed.malformed] == [(2, "transcript")]
