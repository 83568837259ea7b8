"""Every checker against hand-written responses, and the JSON form of constraints."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.errors import UserError
from notus_exp.feedback.simulated.constraints import (
    CHECKERS,
    PARAMS,
    Constraint,
    follows,
    from_json,
    sentences,
    to_json,
    words,
)

CASES = [
    ("lowercase", {},
        ["tea is hot.", "tea, 3 cups!", "  über tea\n"],
        ["Tea is hot.", "tea is hoT", "TEA", "123", "3 4"],
    ),
    ("uppercase", {},
        ["TEA IS HOT.", "TEA & 3 CUPS", "ÜBER TEA"],
        ["Tea is hot.", "TEA IS HOt", "tea", "123"],
    ),
    ("bullets", {"n": 2},
        ["- Tea is hot.\n- Tea is old.", "* one\n\n* two", "  • one\n  • two  ", "- one\n* two"],
        ["- one", "- one\n- two\n- three", "Here:\n- one\n- two", "- one\n- two\nDone.", "one\ntwo", "-one\n-two",
         "- one\n- ", "1. one\n2. two", "- one - two", "- one\n- !"],
    ),
    ("sentences", {"n": 2},
        ["Tea is hot. It is old.", "Really?! Yes.", "It is 3.5 km. Far!", 'He said "no." She left.', "One.\nTwo."],
        ["Tea is hot.", "One. Two. Three.", "Tea is hot. It is", "Tea is hot", "One.Two.", "One. ... Two. Three."],
    ),
    ("begin", {"phrase": "In short:"},
        ["In short: tea is hot.", "  In short:tea", "In short:"],
        ["in short: tea", "Tea. In short: hot", "In short tea", '"In short: tea"'],
    ),
    ("begin", {"phrase": "Sure"}, ["Sure thing.", "Sure, tea.", "Sure"], ["Surely not.", "Not sure", "SURE"]),
    ("end", {"phrase": "That is all."},
        ["Tea is hot. That is all.", "That is all.  \n"],
        ["That is all", "That is all. Bye.", "that is all.", "xThat is all.", 'Tea. "That is all."'],
    ),
    ("include", {"words": ["cup", "hot"]},
        ["A hot cup.", "HOT! The Cup", "cup hot"],
        ["A hot drink.", "Hot cups.", "hotcup", "cupboard hot", "hot-cup"],
    ),
    ("no_commas", {}, ["Tea is hot.", "a;b"], ["Tea, hot.", ", a", "1,000 a"]),
    ("max_words", {"n": 3}, ["Tea is hot.", "don't go", "well-known black tea"], ["Tea is very hot.", "a b c d"]),
    ("min_words", {"n": 3}, ["Tea is hot.", "a b c d"], ["Tea hot", "well-known tea", "it's - tea"]),
    ("json", {"keys": ["topic", "fact"]},
        ['{"topic": "tea", "fact": "hot"}', ' {"fact": 1, "topic": null}\n', '{\n"topic": [],\n"fact": {"x": 1}\n}'],
        ['{"topic": "tea"}', '{"topic": "tea", "fact": "a", "x": 1}', '[{"topic": 1, "fact": 2}]', "topic: tea",
         '{"topic": "tea", "fact": "a"} Done.', '```json\n{"topic": 1, "fact": 2}\n```', "{'topic': 1, 'fact': 2}",
         '{"topic": 1, "topic": 2, "fact": 3}', '{"topic": 1, "fact": NaN}', '["topic", "fact"]',
         '{"Topic": 1, "fact": 2}',
         '"topic"', "[" * 5000 + "a"],
    ),
    ("quoted", {},
        ['"Tea is hot."', ' "Tea. Hot."\n', "\"It's hot\""],
        ["Tea is hot.", '"Tea is hot.', 'Tea is hot."', '"Tea" is "hot"', "'Tea'", "“Tea”", '"Tea is hot".'],
    ),
    ("sum", {"a": 7, "b": 5},
        ["Tea is hot. 7 plus 5 is 12.", "The total is 12.", "12 a", "7+5=12 b"],
        ["7 plus 5 is 13.", "Tea is hot.", "7 plus 5", "It is 12 or 13.", "twelve", "112 a", "1 2 a", "0" * 5000 + "a"],
    ),
    ("exclamations", {},
        ["Tea is hot!", "Tea is hot! It is old!!", 'He said "tea!"', "Really?! Yes!"],
        ["Tea is hot.", "Tea is hot. It is old!", "Tea is hot! It is old", "Tea!x", "Tea is hot!?"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "params", "good", "bad"), CASES)
def test_checker_accepts_and_refuses(kind, params, good, bad):
    constraint = Constraint(kind, params)
    assert [response for response in good if not follows(constraint, response)] == []
    assert [response for response in bad if follows(constraint, response)] == []


def test_every_kind_has_cases_and_parameters():
    assert {case[0] for case in CASES} == {*CHECKERS} == {*PARAMS}
    assert len(CHECKERS) >= 12


@pytest.mark.parametrize("response", ["", " \n\t", "!!!", '"."', "- "])
def test_a_response_without_a_word_follows_nothing(response):
    assert not any(follows(Constraint(kind, params), response) for kind, params, _, _ in CASES)


def test_words_keep_apostrophes_and_hyphens_inside():
    assert words("Don't mix well-known 3 things -- 'now'!") == ["Don't", "mix", "well-known", "3", "things", "now"]


def test_sentences_include_an_unfinished_last_one():
    assert sentences('Tea is hot. "Is it?" It costs 3.5 euros') == ["Tea is hot.", '"Is it?"', "It costs 3.5 euros"]


@given(st.text())
def test_any_text_can_be_checked_by_every_kind_and_white_space_around_it_never_matters(text):
    for kind, params, _, _ in CASES:
        constraint = Constraint(kind, params)
        assert follows(constraint, text) == follows(constraint, f" {text}\n")


TEXTS = st.text(min_size=1).map(lambda text: f"a{text}")
PARAM = {
    "an integer >= 1": st.integers(1, 10**6),
    "a string with a word in it": TEXTS,
    "a list of different strings, at least one": st.lists(TEXTS, min_size=1, max_size=3, unique=True),
}
CONSTRAINTS = st.sampled_from(sorted(CHECKERS)).flatmap(
    lambda kind: st.fixed_dictionaries({name: PARAM[what] for name, what in PARAMS[kind].items()}).map(
        lambda params: Constraint(kind, params)
    )
)


@given(st.lists(CONSTRAINTS, max_size=3))
def test_json_round_trip(constraints):
    assert from_json(to_json(constraints)) == constraints


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[{"kind": "lowrcase", "params": {}}]', "did you mean 'lowercase'?"),
        ('[{"kind": ["a"], "params": {}}]', "is unknown"),
        ('[{"kind": "bullets", "params": {}}]', "n (an integer >= 1)"),
        ('[{"kind": "bullets", "params": {"n": "3"}}]', "n is '3'"),
        ('[{"kind": "bullets", "params": {"n": true}}]', "n is True"),
        ('[{"kind": "bullets", "params": {"n": 0}}]', "n is 0"),
        ('[{"kind": "end", "params": {"phrase": "!"}}]', "phrase is '!'"),
        ('[{"kind": "json", "params": {"keys": ["a", "a"]}}]', "keys is ['a', 'a']"),
        ('[{"kind": "lowercase", "params": {"n": 1}}]', "it takes none"),
        ('[{"kind": "lowercase"}]', "not an object of kind and params"),
        ('{"kind": "lowercase", "params": {}}', "not a JSON list"),
        ("lowercase", "not JSON"),
    ],
)
def test_bad_constraints_are_named(text, part):
    with pytest.raises(UserError) as error:
        from_json(text)
    assert part in str(error.value)


def test_json_is_the_same_for_the_same_constraints():
    first, second = Constraint("sum", {"a": 2, "b": 3}), Constraint("sum", {"b": 3, "a": 2})
    assert to_json([first]) == to_json([second])
    assert json.loads(to_json([first])) == [{"kind": "sum", "params": {"a": 2, "b": 3}}]
