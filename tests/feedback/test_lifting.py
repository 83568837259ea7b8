import copy

import pytest

from notus_exp.feedback.lifting import DIFFERENT_PROMPTS, lift
from notus_exp.feedback.table import RowError
from support.layouts import SIDES, layout

NAN = float("nan")


def turn(role, content):
    return {"role": role, "content": content}


def scores(record, *completions, **others):
    return [answer.score for answer in lift(record, layout(*completions, **others)).answers]


def test_names_with_dots_lead_into_objects_and_lists():
    record = {"meta": {"q": "ask", "n": [3, 7]}, "a.b": "whole", "out": [{"t": "one"}, {"t": "two"}]}
    mapping = layout({"text": "out.0.t", "score": "meta.n.-1"}, {"text": "a.b", "score": "meta.n.0"}, prompt="meta.q")
    found = lift(record, mapping)
    assert (found.user, found.context, found.system) == ("ask", (), None)
    assert [(answer.text, answer.score) for answer in found.answers] == [("one", 7.0), ("whole", 3.0)]


def test_lists_are_zipped_into_completions_with_their_ratings_and_models():
    record = {"q": "ask", "texts": ["x", "y"], "marks": [4, "N/A"], "who": ["m", None], "set": "s"}
    entry = {"text": "texts.*", "score": "marks.*", "model": "who.*", "ratings": {"help": "marks.*"}, "critique": "set"}
    found = lift(record, layout(entry, prompt="q", source="set"), ["help"])
    assert [(one.name, one.text, one.score, one.model, one.critique, one.ratings) for one in found.answers] == [
        ("texts[0]", "x", 4.0, "m", "s", {"help": 4.0}),
        ("texts[1]", "y", None, "", "s", {"help": None}),
    ]
    assert found.source == "s"


def test_lists_of_different_lengths_do_not_go_together():
    with pytest.raises(RowError, match=r"marks\.\* has 1 items, but there are 2 answers"):
        scores({"prompt": "q", "texts": ["x", "y"], "marks": [4]}, {"text": "texts.*", "score": "marks.*"})


def test_a_list_that_a_table_of_texts_holds_as_a_text_is_said_to_be_one():
    for written in ("['x', 'y']", '["x", "y"]'):
        with pytest.raises(RowError, match=r"^meta\.texts is a text, no list$"):
            scores({"prompt": "q", "meta": {"texts": written}}, {"text": "meta.texts.*", "score": "marks.*"})
    with pytest.raises(RowError, match=r"^meta\.texts\.\* is missing$"):
        scores({"prompt": "q", "meta": {}}, {"text": "meta.texts.*", "score": "marks.*"})


def test_a_rank_is_a_score_the_other_way_round():
    answers = [{"t": "x", "r": 2}, {"t": "y", "r": 1.0}]
    assert scores({"prompt": "q", "a": answers}, {"text": "a.*.t", "score": "-a.*.r"}) == [-2.0, -1.0]


@pytest.mark.parametrize(
    ("winner", "expected"),
    [
        (0, [1.0, 0.0]),
        (1.0, [0.0, 1.0]),
        ("1", [0.0, 1.0]),
        ("1.0", [0.0, 1.0]),
        (None, [None, None]),
        (NAN, [None, None]),
        (2, [0.0, 0.0]),
    ],
)
def test_the_better_ones_number_is_one_for_it_and_zero_for_the_other(winner, expected):
    sides = [{"text": "a", "score": "better is 0"}, {"text": "b", "score": "better is 1"}]
    assert scores({"prompt": "q", "a": "x", "b": "y", "better": winner}, *sides) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [(True, 1.0), (False, 0.0), (None, None), (NAN, None), ("n/a", None), ("True", 1.0), (" false", 0.0)],
)
def test_booleans_are_one_and_zero_and_nan_is_missing(label, expected):
    assert scores({"prompt": "q", "a": "x", "label": label}, {"text": "a", "score": "label"}) == [expected]


def test_booleans_can_be_compared_as_they_are_written():
    for good in (True, "true", "True"):
        record = {"prompt": "q", "a": "x", "good": good}
        assert scores(record, {"text": "a", "score": "good is true"}) == [1.0]
        assert scores(record, {"text": "a", "score": "good is False"}) == [0.0]


def test_a_preference_on_a_scale_has_its_strength_as_the_margin():
    sides = [{"text": "a", "score": "-preference"}, {"text": "b", "score": "preference"}]
    assert scores({"prompt": "q", "a": "x", "b": "y", "preference": -2}, *sides) == [2.0, -2.0]


def test_sides_are_labels_where_there_are_no_scores():
    assert scores({"prompt": "q", "chosen": "x", "rejected": "y"}, *SIDES) == [1.0, 0.0]


@pytest.mark.parametrize(
    "answer",
    [
        "x",
        turn("assistant", "x"),
        [turn("assistant", "x")],
        {"from": "gpt", "value": "x"},
        [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "x"}],
        [turn("user", "ask"), turn("assistant", [{"type": "text", "text": "x"}])],
        [{"type": "text", "text": "x"}],
    ],
)
def test_a_text_a_message_a_conversation_and_parts_say_the_same(answer):
    for prompt in ("ask", turn("user", "ask"), [{"from": "human", "value": "ask"}], [{"type": "text", "text": "ask"}]):
        found = lift({"prompt": prompt, "chosen": answer}, layout(SIDES[0]))
        assert (found.user, found.answers[0].text) == ("ask", "x")


def test_fields_and_roles_of_messages_can_be_named():
    messages = [{"who": "asker", "says": "ask"}, {"who": "expert", "says": "x"}]
    named = {"roles": {"asker": "user", "expert": "assistant"}, "role_key": "who", "content_key": "says"}
    found = lift({"chosen": messages}, layout(SIDES[0], **named))
    assert (found.user, found.answers[0].text) == ("ask", "x")
    with pytest.raises(RowError, match=r"chosen\[0\].who is 'asker': .*data.mapping.roles may name others"):
        lift({"chosen": messages}, layout(SIDES[0], **named | {"roles": {}}))


def test_without_a_prompt_it_is_the_turns_that_all_answers_have_before_them():
    before = [turn("system", "kind"), turn("user", "one"), turn("assistant", "two"), turn("user", "three")]
    record = {"chosen": [*before, turn("assistant", "x")], "rejected": [*before, turn("assistant", "y")]}
    for mapping in (layout(*SIDES, prompt=None), layout(*SIDES)):
        found = lift(record, mapping)
        assert (found.system, found.user) == ("kind", "three")
        assert found.context == (("user", "one"), ("assistant", "two"))
        assert [answer.text for answer in found.answers] == ["x", "y"]


def test_answers_with_other_turns_before_them_are_no_pair():
    record = {
        "chosen": [turn("user", "one"), turn("assistant", "x")],
        "rejected": [turn("user", "b"), turn("gpt", "y")],
    }
    with pytest.raises(RowError, match="chosen and rejected have different turns") as error:
        lift(record, layout(*SIDES))
    assert error.value.rule == DIFFERENT_PROMPTS


def test_a_system_column_is_a_turn_of_the_conversation_and_an_empty_one_is_none():
    record = {"sys": "be kind", "prompt": "ask", "chosen": "x"}
    assert lift(record, layout(SIDES[0], system="sys")).system == "be kind"
    assert lift(record | {"sys": ""}, layout(SIDES[0], system="sys")).system is None
    assert lift(record | {"sys": None}, layout(SIDES[0], system="sys")).system is None
    with pytest.raises(RowError, match="another text for the system turn"):
        lift(record | {"prompt": [turn("system", "other"), turn("user", "ask")]}, layout(SIDES[0], system="sys"))


HUMAN = {"user": "\n\nHuman:", "assistant": "\n\nAssistant:"}


@pytest.mark.parametrize(
    ("text", "context", "user"),
    [
        ("\n\nHuman: ask\n\nAssistant: ", (), "ask"),
        ("\n\nHuman: ask\n\nAssistant:", (), "ask"),
        ("Human: ask", (), "ask"),
        ("ask", (), "ask"),
        (" ask\n", (), " ask\n"),
        ("ask\n\nAssistant: so\n\nHuman: more\n\nAssistant:", (("user", "ask"), ("assistant", "so")), "more"),
        ("\n\nHuman: a\nHuman: b\n\nAssistant: c\n\nHuman: d", (("user", "a\nHuman: b"), ("assistant", "c")), "d"),
    ],
)
def test_a_prompt_that_is_a_transcript_is_split_at_the_speakers_marks(text, context, user):
    found = lift({"prompt": text, "chosen": "x"}, layout(SIDES[0], speakers=HUMAN))
    assert (found.context, found.user) == (context, user)


def test_sides_that_are_whole_transcripts_have_their_common_prompt():
    said = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: "
    found = lift({"chosen": said + "x", "rejected": said + "y\n\nz"}, layout(*SIDES, prompt=None, speakers=HUMAN))
    assert (found.context, found.user) == ((("user", "a"), ("assistant", "b")), "c")
    assert [answer.text for answer in found.answers] == ["x", "y\n\nz"]


def test_an_answer_that_speaks_of_a_mark_is_no_transcript():
    answer = "They write\n\nHuman: before a question."
    found = lift({"prompt": "ask", "chosen": answer}, layout(SIDES[0], speakers=HUMAN))
    assert found.answers[0].text == answer


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "ask"}, "chosen is missing"),
        ({"prompt": "ask", "chosen": None}, "chosen is missing"),
        ({"prompt": "ask", "chosen": NAN}, "chosen is missing"),
        ({"prompt": "ask", "chosen": []}, "chosen is an empty list"),
        ({"prompt": "ask", "chosen": 3}, "chosen is 3, expected text"),
        ({"prompt": " ", "chosen": "x"}, "the user's message is empty"),
        ({"chosen": "x"}, "there is no prompt: data.mapping.prompt names 'prompt', which is not there"),
        ({"prompt": "ask", "chosen": [turn("user", "u")]}, "chosen does not end with an assistant's message"),
        ({"prompt": [turn("assistant", "u")], "chosen": "x"}, "prompt has a turn of assistant where user's is due"),
        ({"prompt": [turn("user", "u"), turn("user", "v")], "chosen": "x"}, "turn of user where assistant's is due"),
        ({"prompt": [turn("user", "u"), turn("assistant", "v")], "chosen": "x"}, "prompt does not end with a user's"),
        ({"prompt": [turn("tool", "u")], "chosen": "x"}, r"prompt\[0\].role is 'tool'"),
        ({"prompt": ["u"], "chosen": "x"}, r"prompt\[0\] is not a message with role and content or from and value"),
        (
            {"prompt": "ask", "chosen": turn("assistant", [{"type": "image"}])},
            "part of type 'image': only text is read",
        ),
        ({"prompt": "ask", "chosen": turn("assistant", None)}, "chosen.content is missing"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_fields_name(record, message):
    with pytest.raises(RowError, match=message):
        lift(record, layout(SIDES[0]))


@pytest.mark.parametrize("score", ["good", [1], {"a": 1}, float("inf"), 1e308])
def test_a_score_that_is_no_usable_number_is_refused(score):
    with pytest.raises(RowError, match=r"score is .* not a usable number"):
        scores({"prompt": "q", "a": "x", "score": score}, {"text": "a", "score": "score"})


def test_an_answer_that_may_be_missing_is_left_out():
    entries = [{"text": "a", "score": "s"}, {"text": "b or none", "score": "s"}, {"text": "c.* or none", "score": "s"}]
    for empty in ({}, {"b": None, "c": None}, {"b": NAN}):
        assert scores({"prompt": "q", "a": "x", "s": 1} | empty, *entries) == [1.0]


def test_a_table_has_null_in_the_fields_that_a_record_does_not_have():
    unused = {"from": None, "value": None, "name": None}
    both = [turn("user", "ask") | unused, {"role": None, "content": None, "from": "gpt", "value": "x"}]
    found = lift({"prompt": None, "chosen": both}, layout(SIDES[0]))
    assert (found.user, found.answers[0].text) == ("ask", "x")


def test_the_record_is_not_changed():
    record = {"prompt": [turn("user", "ask")], "chosen": turn("assistant", "x"), "rejected": "y"}
    before = copy.deepcopy(record)
    assert lift(record, layout(*SIDES)) == lift(record, layout(*SIDES))
    assert record == before
