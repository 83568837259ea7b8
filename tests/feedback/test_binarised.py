import json

import pytest

from notus_exp.config.data_settings import Pairs, RepeatedPrompts
from notus_exp.errors import UserError
from notus_exp.feedback.binarised import read
from notus_exp.feedback.records import read_files
from notus_exp.feedback.table import build


def spec(aspects=(), **columns):
    names = {"prompt_column": "prompt", "chosen_column": "chosen", "rejected_column": "rejected"}
    names |= {"chosen_score_column": None, "rejected_score_column": None, "source_column": None} | columns
    return Pairs("pairs", list(aspects), 0, None, None, "train", "main", RepeatedPrompts.strip, **names)


def parse(tmp_path, *rows, settings=None):
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parsed = read(settings or spec(), read_files([file], lambda share: None))
    return parsed, build(parsed.rows, [])


def turn(role, content):
    return {"role": role, "content": content}


SYSTEM, USER = turn("system", "be kind"), turn("user", "ask")
GOOD, BAD = turn("assistant", "good"), turn("assistant", "bad")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "ask", "chosen": "good", "rejected": "bad"},
        {"prompt": "ask", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "ask", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": "bad"},
    ],
)
def test_plain_and_conversational_layouts_give_the_same_two_completions(row, tmp_path):
    _, table = parse(tmp_path, row)
    columns = ("row", "completion", "instruction", "response", "overall_score", "principle", "system_prompt")
    assert table.select(columns).rows() == [(0, 0, "ask", "good", 1.0, "", ""), (0, 1, "ask", "bad", 0.0, "", "")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [SYSTEM, USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [SYSTEM, USER], "chosen": [SYSTEM, USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "ask", "chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]},
    ],
)
def test_a_system_turn_is_kept_and_marked_as_part_of_the_conversation(row, tmp_path):
    _, table = parse(tmp_path, row)
    assert table["system_prompt"].to_list() == ["be kind"] * 2
    assert table["principle"].to_list() == ["conversation"] * 2
    assert table["instruction"].to_list() == ["ask"] * 2


def test_an_empty_system_turn_is_a_turn_too(tmp_path):
    _, table = parse(tmp_path, {"prompt": [turn("system", ""), USER], "chosen": [GOOD], "rejected": [BAD]})
    assert table.select("system_prompt", "principle").rows() == [("", "conversation")] * 2


def test_score_columns_give_the_scores_and_contradictions_are_counted(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "cs": "7.5", "rs": 3, "from": "s"},
        {"prompt": "q", "chosen": "a", "rejected": "b", "cs": 1, "rs": 2},
        {"prompt": "r", "chosen": "a", "rejected": "b", "cs": None, "rs": 2},
    ]
    settings = spec(chosen_score_column="cs", rejected_score_column="rs", source_column="from")
    parsed, table = parse(tmp_path, *rows, settings=settings)
    assert table["overall_score"].to_list() == [7.5, 3.0, 1.0, 2.0, None, 2.0]
    assert table["source"].to_list() == ["s", "s", "", "", "", ""]
    assert parsed.facts == {"contradicting_scores": 1, "tied_scores": 0}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": [USER, GOOD, USER], "chosen": [GOOD], "rejected": [BAD]}, "multi-turn"),
        ({"prompt": "ask", "chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD]}, "multi-turn"),
        ({"prompt": "other", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "different user messages"),
        (
            {"prompt": [SYSTEM, USER], "chosen": [turn("system", "x"), USER, GOOD], "rejected": [BAD]},
            "different system",
        ),
        ({"prompt": [USER, SYSTEM], "chosen": [GOOD], "rejected": [BAD]}, "out of order"),
        ({"prompt": [SYSTEM], "chosen": [GOOD], "rejected": [BAD]}, "does not end with a user's"),
        ({"prompt": [USER, GOOD], "chosen": [GOOD], "rejected": [BAD]}, "does not end with a user's"),
        ({"prompt": "ask", "chosen": [USER], "rejected": [BAD]}, "chosen does not end with an assistant's"),
        ({"prompt": "ask", "chosen": [], "rejected": [BAD]}, "chosen does not end with an assistant's"),
        ({"prompt": "ask", "chosen": [turn("tool", "x")], "rejected": [BAD]}, "role is 'tool'"),
        ({"prompt": "ask", "chosen": ["text"], "rejected": [BAD]}, "not a message"),
        ({"prompt": "ask", "chosen": [turn("assistant", None)], "rejected": [BAD]}, "content is missing"),
        ({"prompt": "ask", "chosen": "good"}, "rejected is missing"),
        ({"prompt": " ", "chosen": "good", "rejected": "bad"}, "prompt is empty"),
    ],
)
def test_what_is_no_single_turn_pair_is_malformed_with_its_reason(row, reason, tmp_path):
    parsed, table = parse(tmp_path, {"prompt": "ask", "chosen": "good", "rejected": "bad"}, row)
    (bad,) = parsed.malformed
    assert bad.line == 2
    assert reason in bad.reason
    assert table.height == 2


def test_an_answer_that_repeats_its_prompt_is_stripped_whether_a_text_or_a_message(tmp_path):
    rows = [
        {"prompt": "ask?", "chosen": "ask?\ngood", "rejected": "bad"},
        {"prompt": "ask?", "chosen": [turn("assistant", "ask?\ngood")], "rejected": "Human: ask?\nAssistant: bad"},
        {"prompt": "ask?", "chosen": "good", "rejected": [turn("assistant", "Human: other?\nAssistant: bad")]},
    ]
    parsed, table = parse(tmp_path, *rows)
    assert table["response"].to_list() == ["good", "bad", "good", "bad"]
    assert [row.repeats for row in parsed.rows] == [
        "stripped/repeated_prompt",
        "",
        "stripped/repeated_prompt",
        "stripped/transcript",
    ]
    [bad] = parsed.malformed
    assert (bad.line, bad.rule) == (3, "transcript")
    assert bad.reason.startswith("rejected is a transcript (Human: Assistant:)")


def test_an_answer_that_is_only_its_prompt_is_counted_apart(tmp_path):
    parsed, _ = parse(tmp_path, {"prompt": "ask?", "chosen": "ask?\n", "rejected": "Human: ask?\nAssistant:"})
    assert [row.response for row in parsed.rows] == ["", ""]
    assert [row.repeats for row in parsed.rows] == ["emptied/repeated_prompt", "emptied/transcript"]


def test_settings_that_would_do_nothing_or_cannot_work_are_errors(tmp_path):
    row = {"prompt": "ask", "chosen": "good", "rejected": "bad", "cs": 1}
    cases = [
        (spec(aspects=["helpfulness"]), "data.aspects"),
        (spec(chosen_score_column="cs"), "only one of"),
        (spec(chosen_column="winner"), "data.chosen_column='winner'"),
        (spec(source_column="from"), "data.source_column='from'"),
    ]
    for settings, named in cases:
        with pytest.raises(UserError) as error:
            parse(tmp_path, row, settings=settings)
        assert named in error.value.message
