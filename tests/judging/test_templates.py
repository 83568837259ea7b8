import json

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.errors import UserError
from notus_exp.judging.templates import (
    FASTCHAT_NAMES,
    comparison_messages,
    grading_messages,
    load_comparison_template,
    load_grading_templates,
)
from notus_exp.judging.verdicts import MODEL_FIRST, REFERENCE_FIRST, AnswerPair, Grading
from notus_exp.models import bounded_rendering
from support.judges import grading, pair
from support.places import REPLAY

PROMPTS = REPLAY / "mt_bench/judge_prompts.jsonl"
replay = pytest.mark.skipif(not PROMPTS.exists(), reason="the replay data is not beside the checkout")


def content(messages):
    assert [message["role"] for message in messages] == ["user"]
    return messages[0]["content"]


@pytest.mark.parametrize("parser", ["ranking", "logprobs", "letters"])
def test_the_order_decides_which_answer_is_shown_first(parser):
    template = load_comparison_template(parser)
    one = content(comparison_messages(pair(1), REFERENCE_FIRST, template))
    other = content(comparison_messages(pair(1), MODEL_FIRST, template))
    assert one.index("Question 1?") < one.index("reference 1") < one.index("model 1")
    assert other.index("Question 1?") < other.index("model 1") < other.index("reference 1")
    swapped = other.replace("model 1", "\0").replace("reference 1", "model 1").replace("\0", "reference 1")
    assert swapped == one, "only the answers change places"


def test_each_template_asks_for_what_its_parser_reads():
    token = content(comparison_messages(pair(1), REFERENCE_FIRST, load_comparison_template("ranking")))
    assert "m for the one shown first, M for the one shown second" in token
    letters = content(comparison_messages(pair(1), REFERENCE_FIRST, load_comparison_template("letters")))
    assert all(f"[[{letter}]]" in letters for letter in "ABC")
    assert "[[rating]]" in content(grading_messages(grading(1), load_grading_templates()))


TEXT = st.text(alphabet="{}%#<>&[]x \\'\"\n", min_size=1, max_size=20).filter(lambda text: text.strip())


@settings(deadline=None)  # the first one compiles the template
@given(TEXT, TEXT, TEXT)
def test_braces_and_marks_in_texts_arrive_as_they_are(question, one, other):
    comparison = AnswerPair("0" * 16, question, one, other)
    shown = content(comparison_messages(comparison, REFERENCE_FIRST, load_comparison_template("letters")))
    assert f"=== Request ===\n{question}\n=== End" in shown
    assert f"=== Answer A ===\n{one}\n=== End" in shown
    assert f"=== Answer B ===\n{other}\n=== End" in shown


USES = "{{ instruction }} {{ first }} {{ second }}"
ENDLESS = {
    "loops": "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "a text": "{% for a in range(90000) %}{% for b in range(90000) %}xxxxxxxxx{% endfor %}{% endfor %}",
    "a width": "{{ '%1000000000s' % first }}",
    "a padding": "{{ first.center(10 ** 10) }}",
    "a power while it is compiled": "{{ 10 ** (10 ** 10) }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_users_template_without_end_is_an_error_before_anything_is_asked(tmp_path, monkeypatch, name):
    bounded_rendering.forget()
    monkeypatch.setattr(bounded_rendering, "SECONDS", 0.3)
    monkeypatch.setattr(bounded_rendering, "CHARACTERS", 100_000)
    monkeypatch.setattr(bounded_rendering, "MEMORY", 2**28)
    path = tmp_path / "mine.j2"
    path.write_text(USES + ENDLESS[name])
    with pytest.raises(UserError, match=rf"judge\.template={path} takes more than"):
        load_comparison_template("ranking", path)
    bounded_rendering.forget()


def test_a_template_that_ends_for_some_texts_alone_is_an_error_where_it_does_not(tmp_path, monkeypatch):
    bounded_rendering.forget()
    monkeypatch.setattr(bounded_rendering, "SECONDS", 0.3)
    path = tmp_path / "mine.j2"
    path.write_text(USES + "{% if '7' in first %}" + ENDLESS["loops"] + "{% endif %}")
    template = load_comparison_template("ranking", path)
    assert content(comparison_messages(pair(1), MODEL_FIRST, template)) == "Question 1? model 1 reference 1"
    with pytest.raises(UserError, match=r"judge\.template=.* takes more than 0\.3 s of computing"):
        comparison_messages(pair(7), MODEL_FIRST, template)
    bounded_rendering.forget()


def test_a_users_template_is_rendered_as_ever(tmp_path):
    path = tmp_path / "mine.j2"
    text = "  {% if true %}\n{{ instruction | tojson }}\n  {% endif %}\n{{ first }}\n{# no #}\n{{ second | upper }}\n\n"
    path.write_text(text)
    texts = {"instruction": "<b>'ä'\ud800", "first": "{{ x }}", "second": "é<"}
    usual = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    comparison = AnswerPair("0" * 16, texts["instruction"], texts["second"], texts["first"])
    shown = content(comparison_messages(comparison, MODEL_FIRST, load_comparison_template("letters", path)))
    assert shown == usual.from_string(text).render(**texts), "else its cached verdicts would be asked again"


@pytest.mark.parametrize("references", [False, True])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_our_rating_prompt_shows_every_turn_in_order(turn, references):
    shown = content(grading_messages(grading(5, turn, references), load_grading_templates()))
    parts = ["Question 5.{}?", "known 5.{}", "answer 5.{}"] if references else ["Question 5.{}?", "answer 5.{}"]
    places = [shown.index(part.format(number)) for number in range(1, turn + 1) for part in parts]
    assert places == sorted(places)
    assert ("Reference for" in shown) == references
    assert ("rate the answer to request" in shown) == (turn > 1)


def fastchat(path, changes=None):
    prompts = {
        "single-v1": "{question} / {answer}",
        "single-math-v1": "{question} / {ref_answer_1} / {answer}",
        "single-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2} {{kept}}",
        "single-math-v1-multi-turn": "{question_1} {ref_answer_1} {answer_1} {question_2} {ref_answer_2} {answer_2}",
    } | (changes or {})
    rows = [{"name": n, "system_prompt": f"system of {n}", "prompt_template": t} for n, t in prompts.items() if t]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_fastchats_prompts_are_chosen_by_turn_and_references(tmp_path):
    templates = load_grading_templates(fastchat(tmp_path / "prompts.jsonl"))
    expected = {
        (1, False): ("single-v1", "Question 1.1? / answer 1.1"),
        (1, True): ("single-math-v1", "Question 1.1? / known 1.1 / answer 1.1"),
        (2, False): ("single-v1-multi-turn", "Question 1.1? answer 1.1 Question 1.2? answer 1.2 {kept}"),
        (2, True): (
            "single-math-v1-multi-turn",
            "Question 1.1? known 1.1 answer 1.1 Question 1.2? known 1.2 answer 1.2",
        ),
    }
    for (turn, references), (name, text) in expected.items():
        assert grading_messages(grading(1, turn, references), templates) == [
            {"role": "system", "content": f"system of {name}"},
            {"role": "user", "content": text},
        ]
    with pytest.raises(UserError, match="turn 3"):
        grading_messages(grading(1, 3), templates)


@settings(deadline=None)  # reads a file
@given(TEXT, TEXT)
def test_braces_do_not_break_fastchats_format(tmp_path_factory, question, answer):
    templates = load_grading_templates(fastchat(tmp_path_factory.getbasetemp() / "prompts.jsonl"))
    shown = grading_messages(Grading("0" * 16, 1, "x", (question,), (answer,), ()), templates)[1]["content"]
    assert shown == f"{question} / {answer}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"single-v1": None}, "no prompt 'single-v1'"),
        ({"single-v1": "{question} {ref_answer_1.__class__}"}, "unknown field 'ref_answer_1.__class__'"),
        ({"single-v1": "{question_2}"}, "unknown field 'question_2'"),
        ({"single-v1": "{question"}, "malformed"),
        ({"single-v1": "{question:>1000000000}"}, "'single-v1' lays a field out by ':>1000000000'"),
        ({"single-v1": "{question:{answer}}"}, "lays a field out"),
    ],
)
def test_a_malformed_prompt_file_says_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_grading_templates(fastchat(tmp_path / "prompts.jsonl", changes))


def test_a_line_that_is_no_prompt_is_named(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"name": "single-v1"}\n')
    with pytest.raises(UserError, match=r"prompts.jsonl:1 is no judge prompt \(KeyError: 'system_prompt'\)"):
        load_grading_templates(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_grading_templates(tmp_path / "absent.jsonl")


@replay
def test_the_published_prompts_are_filled_completely():
    templates = load_grading_templates(PROMPTS)
    assert set(templates.fastchat) == set(FASTCHAT_NAMES)
    for turn, references in FASTCHAT_NAMES:
        system, user = grading_messages(grading(3, turn, references), templates)
        assert system["content"]
        assert all(f"answer 3.{number}" in user["content"] for number in range(1, turn + 1))
        assert ("known 3.1" in user["content"]) == references
        assert "[[rating]]" in system["content"] + user["content"]


def test_a_users_template_is_used_and_changes_the_digest(tmp_path):
    path = tmp_path / "mine.j2"
    path.write_text("{{ instruction }}|{{ first }}|{{ second }}\n")
    template = load_comparison_template("letters", path)
    assert content(comparison_messages(pair(2), MODEL_FIRST, template)) == "Question 2?|model 2|reference 2"
    digests = {template.digest, *(load_comparison_template(parser).digest for parser in ("ranking", "letters"))}
    assert len(digests) == 3
    assert load_comparison_template("logprobs").digest == load_comparison_template("ranking").digest


def test_the_digest_of_gradings_tells_prompts_apart(tmp_path):
    own, theirs = load_grading_templates(), load_grading_templates(fastchat(tmp_path / "a.jsonl"))
    changed = load_grading_templates(fastchat(tmp_path / "b.jsonl", {"single-v1": "{question}: {answer}"}))
    assert len({own.digest, theirs.digest, changed.digest}) == 3
    assert own.digest == load_grading_templates().digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ instruction }} {{ first }}", "has the variables first, instruction"),
        ("{{ instruction }} {{ first }} {{ second }} {{ third }}", "third"),
        ("{{ instruction", "is no Jinja2 template: line 1"),
        (f"{USES}\n{{{{ first.absent.more }}}}", "cannot be rendered: .*has no attribute 'absent'"),
        (f"{USES} {{{{ instruction + 1 }}}}", "cannot be rendered: TypeError"),
        (f"{USES} {{{{ ''.__class__.__mro__ }}}}", "cannot be rendered: .*unsafe"),
        (f"{USES} {{{{ lipsum() }}}}", "has the variables .*lipsum"),
        (f"{USES} {{{{ [1, 2] | random }}}}", "No filter named 'random'"),
    ],
)
def test_a_users_template_that_cannot_work_is_an_error(tmp_path, text, message):
    path = tmp_path / "mine.j2"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_comparison_template("ranking", path)
