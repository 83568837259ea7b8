import json

import pytest

from notus_exp.config.data_settings import Mapped, RepeatedPrompts
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.feedback.mapped import read
from notus_exp.feedback.records import read_files
from notus_exp.feedback.table import build, check, schema
from support.layouts import SIDES, layout


def parse(tmp_path, mapping, *rows, aspects=(), repeated=RepeatedPrompts.strip):
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = Mapped("mapped", list(aspects), 0, None, None, "train", "main", repeated, mapping)
    parsed = read(spec, read_files([file], lambda share: None))
    return parsed, build(parsed.rows, list(aspects))


def test_each_record_is_a_prompt_with_its_completions(tmp_path):
    entry = {"text": "texts.*", "score": "marks.*", "model": "who.*", "ratings": {"help": "marks.*"}}
    rows = [
        {"q": "ask", "from": "s", "texts": ["x", "y"], "marks": [4, None], "who": ["m", "n"]},
        {"q": "ask", "from": None, "texts": [], "marks": [], "who": []},
        {"q": "other", "from": "t", "texts": ["z"], "marks": ["2"], "who": ["m"]},
    ]
    parsed, table = parse(tmp_path, layout(entry, prompt="q", source="from"), *rows, aspects=["help"])
    columns = ("row", "completion", "instruction", "response", "model", "source", "rating_help", "overall_score")
    assert table.select(columns).rows() == [
        (0, 0, "ask", "x", "m", "s", 4.0, 4.0),
        (0, 1, "ask", "y", "n", "s", None, None),
        (2, 0, "other", "z", "m", "t", 2.0, 2.0),
    ]
    assert parsed.facts["records_without_completions"] == 1


def test_records_with_one_completion_belong_together_by_their_prompt_and_system_turn(tmp_path):
    mapping = layout({"text": "a", "score": "ok"}, prompt="q", system="sys")
    rows = [("ask", "x", True, ""), ("other", "y", True, ""), ("ask", "z", False, ""), ("ask", "u", False, "kind")]
    _, table = parse(tmp_path, mapping, *[dict(zip(("q", "a", "ok", "sys"), row, strict=True)) for row in rows])
    assert table.select("row", "completion", "response", "overall_score", "system_prompt").rows() == [
        (0, 0, "x", 1.0, ""),
        (0, 1, "z", 0.0, ""),
        (1, 0, "y", 1.0, ""),
        (3, 0, "u", 0.0, "kind"),
    ]


def test_scores_that_contradict_the_sides_are_counted(tmp_path):
    sides = [{**SIDES[0], "score": "c"}, {**SIDES[1], "score": "r"}]
    marks = [(2, 1), (1, 2), (1, 1), (None, 1)]
    rows = [{"prompt": f"q{n}", "chosen": "x", "rejected": "y", "c": c, "r": r} for n, (c, r) in enumerate(marks)]
    parsed, table = parse(tmp_path, layout(*sides), *rows)
    assert (parsed.facts["contradicting_scores"], parsed.facts["tied_scores"]) == (1, 1)
    assert table["overall_score"].to_list() == [2, 1, 1, 2, 1, 1, None, 1]


def test_an_answer_that_repeats_its_prompt_is_stripped_as_by_every_reader(tmp_path):
    row = {"prompt": "Name a river in Peru.", "chosen": "Name a river in Peru.\nThe Ucayali.", "rejected": "No."}
    parsed, table = parse(tmp_path, layout(*SIDES), row)
    assert table["response"].to_list() == ["The Ucayali.", "No."]
    assert parsed.rows[0].repeats == "stripped/repeated_prompt"


def test_a_malformed_record_is_set_aside_whole_and_the_others_are_read(tmp_path):
    rows = [{"prompt": "q", "chosen": "x"}, {"prompt": "p", "chosen": "x", "rejected": "y"}]
    parsed, table = parse(tmp_path, layout(*SIDES), *rows)
    assert [(one.line, one.reason) for one in parsed.malformed] == [(1, "rejected is missing")]
    assert table["row"].unique().to_list() == [1]


@pytest.mark.parametrize(
    ("entry", "others", "message", "hint"),
    [
        ({"text": "chosn"}, {}, "completions[0].text='chosn'", "did you mean 'chosen'"),
        ({"score": "meta.scor"}, {}, "completions[0].score='meta.scor'", "fields found in 'meta': score"),
        ({"model": "who.*.x"}, {"text": "list.*.t"}, "completions[0].model='who.*.x'", "none"),
        ({"ratings": {"help": "hlp"}}, {}, "completions[0].ratings.help='hlp'", "'hlp'|fields found"),
        ({}, {"source": "src"}, "data.mapping.source='src'", "fields found"),
        ({}, {"prompt": "question"}, "data.mapping.prompt='question'", "fields found"),
    ],
)
def test_a_path_that_leads_nowhere_in_all_records_is_an_error_that_names_it(entry, others, message, hint, tmp_path):
    row = {"prompt": "q", "chosen": "x", "meta": {"score": 1}, "list": [{"t": "x"}], "who": [{}]}
    text = {"text": others.pop("text")} if "text" in others else {}
    score = {"text": "chosen", "score": "meta.score"}
    with pytest.raises(UserError) as error:
        parse(tmp_path, layout(score | text | entry, **others), row, aspects=entry.get("ratings", ()))
    assert message in error.value.message
    assert any(part in error.value.hint for part in hint.split("|"))


def test_a_path_that_may_be_missing_is_no_error(tmp_path):
    _, table = parse(tmp_path, layout({**SIDES[0], "model": "who or none"}), {"prompt": "q", "chosen": "x"})
    assert table["model"].to_list() == [""]


def test_an_item_that_is_missing_is_passed_over_where_it_may_be_and_counted(tmp_path):
    entry = {"text": "texts.*", "score": "marks.*", "model": "who.*"}
    rows = [{"prompt": "q", "texts": ["x", None, "y"], "marks": [4, None, 2], "who": ["m", "n", "o"]}]
    rows += [{"prompt": "p", "texts": [{"t": "x"}, {}], "marks": [1, 2], "who": ["m", "n"]}]
    rows += [{"prompt": "o", "texts": [None], "marks": [1], "who": ["m"]}]
    parsed, _ = parse(tmp_path, layout(entry), rows[0])
    assert [one.reason for one in parsed.malformed] == ["texts[1] is missing"]
    assert "answers_passed_over" not in parsed.facts
    parsed, table = parse(tmp_path, layout(entry | {"text": "texts.* or none"}), rows[0], rows[2])
    read = table.select("row", "completion", "response", "model", "overall_score").rows()
    assert read == [(0, 0, "x", "m", 4.0), (0, 1, "y", "o", 2.0)]
    assert (parsed.facts["answers_passed_over"], parsed.facts["records_without_completions"]) == (2, 1)
    parsed, table = parse(tmp_path, layout(entry | {"text": "texts.*.t or none"}), rows[1])
    assert (table["response"].to_list(), parsed.facts["answers_passed_over"]) == (["x"], 1)


def test_a_value_that_no_record_has_is_an_error_that_shows_those_found(tmp_path):
    sides = [{"text": "a", "score": "win is model_A"}, {"text": "b", "score": "win is model_B"}]
    rows = [{"prompt": "q", "a": "x", "b": "y", "win": win} for win in ("model_a", "model_b", "tie")]
    with pytest.raises(UserError, match="'win' is never 'model_A'") as error:
        parse(tmp_path, layout(*sides), *rows)
    assert error.value.hint == "values found: model_a, model_b, tie"


def test_a_side_that_never_wins_is_no_error_where_the_other_does(tmp_path):
    sides = [{"text": "a", "score": "win is 0"}, {"text": "b", "score": "win is 1"}]
    _, table = parse(tmp_path, layout(*sides), {"prompt": "q", "a": "x", "b": "y", "win": 1})
    assert table["overall_score"].to_list() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("values", "wanted", "never", "found"),
    [
        ((0, 1), (1, 2), "2", "0, 1"),
        ((1, 2), (0, 1), "0", "1, 2"),
        (("model_a", "model_b", "tie"), ("model_a", "model_c"), "model_c", "model_a, model_b, tie"),
        ((True, False), ("true", "no"), "no", "false, true"),
    ],
)
def test_a_value_that_occurs_does_not_excuse_another_that_never_does(values, wanted, never, found, tmp_path):
    sides = [{"text": text, "score": f"win is {value}"} for text, value in zip("ab", wanted, strict=True)]
    rows = [{"prompt": "q", "a": "x", "b": "y", "win": win} for win in values]
    with pytest.raises(UserError, match=f"'win' is never '{never}'") as error:
        parse(tmp_path, layout(*sides), *rows)
    assert error.value.hint == f"values found: {found}; 'win or none is {never}' may hold nowhere"
    sides = [side | {"score": side["score"].replace(" is", " or none is")} for side in sides]
    assert len(parse(tmp_path, layout(*sides), *rows)[0].rows) == 2 * len(rows)


def test_one_value_may_be_asked_for_twice_and_in_each_way_of_writing_it(tmp_path):
    ratings = {"same": "win is 1.0", "other": "win is 0"}
    entry = {"text": "a", "score": "win is 1", "ratings": ratings}
    rows = [{"prompt": "q", "a": "x", "win": win} for win in (0, 1)]
    _, table = parse(tmp_path, layout(entry), *rows, aspects=ratings)
    assert table.select("overall_score", "rating_same", "rating_other").rows() == [(0, 0, 1), (1, 1, 0)]


def test_earlier_turns_are_the_context_and_make_another_prompt(tmp_path):
    def turns(*said):
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]

    rows = [{"prompt": turns("a", "b", "c"), "chosen": "x"}, {"prompt": turns("c"), "chosen": "y"}]
    rows += [{"prompt": turns("a", "other", "c"), "chosen": "z"}, rows[0] | {"chosen": "again"}]
    _, table = parse(tmp_path, layout({"text": "chosen", "side": "chosen"}), *rows)
    check(table, [])
    earlier = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert table.select("row", "completion", "instruction", "response").rows() == [
        (0, 0, "c", "x"), (0, 1, "c", "again"), (1, 0, "c", "y"), (2, 0, "c", "z"),
    ]  # fmt: skip
    assert table["context"].to_list()[:3] == [earlier, earlier, []]
    assert table["prompt_id"].n_unique() == 3
    assert table["prompt_id"][2] == prompt_id("c")


def test_data_without_earlier_turns_has_no_such_column(tmp_path):
    _, table = parse(tmp_path, layout(*SIDES), {"prompt": "q", "chosen": "x", "rejected": "y"})
    assert table.columns == list(schema([]))
