"""A chat template is somebody's program: it gives the text that transformers gives, or ends in one clear error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import pytest

from notus_exp.errors import UserError
from notus_exp.models import bounded_rendering
from notus_exp.models.rendering import render, render_open

TURNS = [
    {"role": "system", "content": "Be brief.\n"},
    {"role": "user", "content": "  Was ist <b>das</b>? 😀 \ud800"},
    {"role": "assistant", "content": "Käse"},
]
USUAL = {
    "ChatML": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}",
    "blocks on lines": "{%- for m in messages %}\n    {%- if loop.first %}\n{{ bos_token }}\n    {% endif %}\n"
    "  {{ m.role | upper }}: {{ m.content | trim }}{{ eos_token }}\n{% endfor %}\n",
    "tools and documents": "{{ tools is none }}{{ documents is none }}{{ tools is defined }}"
    "{% if not tools %}no{% endif %}",
    "JSON": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ {'b': 1, 'a': [true, none]} | tojson }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content|length %}"
    "{% endfor %}{{ ns.n }}",
    "loop controls": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
    "{% break %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{% set x = m.content %}{{ x }}{% endgeneration %}"
    "{% endfor %}{{ x is defined }}",
    "macro": "{% macro turn(m) %}[{{ m['role'] }}]{{ caller() if caller else '' }}{{ m['content'].strip() }}"
    "{% endmacro %}"
    "{% for m in messages %}{{ turn(m) }}{% endfor %}",
    "slices and dicts": "{% set rest = messages[1:] %}{{ rest | length }}{{ dict(a=1).items() | list }}"
    "{{ rest | map(attribute='role') | join(',') }}{{ 'strftime_now is there' if strftime_now is defined }}",
    "generation prompt": "{{ messages[-1].content }}{% if add_generation_prompt %}<go>{% endif %}",
}
ENDLESS = {
    "loops without output": "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "loops with output": "{% for a in range(90000) %}{% for b in range(90000) %}"
    + "x" * 99
    + "{% endfor %}{% endfor %}",
    "a range beyond all": "{% for i in range(10**12) %}{% endfor %}",
    "a range beyond all, with output": "{% for i in range(10**12) %}x{% endfor %}",
    "calls without end": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a power, computed in C": "{% set n = messages | length %}{{ (n * 10) ** (10 ** (n * 4)) }}",
    "a text that doubles": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a repeated text": "{{ messages[0].content * 10 ** 11 }}",
    "a padded text": "{{ messages[0].content.ljust(10 ** 11) }}",
}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return deepcopy(tiny_tokenizer)


@pytest.fixture
def hasty(monkeypatch):
    """Limits that are reached at once, in a process of their own."""
    bounded_rendering.forget()
    monkeypatch.setattr(bounded_rendering, "SECONDS", 0.3)
    monkeypatch.setattr(bounded_rendering, "CHARACTERS", 100_000)
    monkeypatch.setattr(bounded_rendering, "MEMORY", 2**28)
    yield
    bounded_rendering.forget()


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", USUAL)
def test_the_text_is_that_of_transformers(tokenizer, name, prompt):
    tokenizer.chat_template = USUAL[name]
    theirs = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=prompt)
    assert render(tokenizer, TURNS, add_generation_prompt=prompt, date=None) == theirs


TRIMS = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}</s>{% endfor %}"


@pytest.mark.parametrize("template", [USUAL["ChatML"], TRIMS])
def test_a_text_to_go_on_with_is_that_of_transformers(tokenizer, template):
    tokenizer.chat_template = template.replace("m.content", "m['content']")
    for end in ("Käse", "Käse ", ""):
        turns = [*TURNS[:-1], {"role": "assistant", "content": end}]
        theirs = tokenizer.apply_chat_template(turns, tokenize=False, continue_final_message=True)
        assert render_open(tokenizer, turns, date=None) == theirs
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(UserError, match="does not write the text of the last turn"):
        render_open(tokenizer, TURNS, date=None)


def test_a_template_is_given_other_variables_by_name(tokenizer):
    tokenizer.chat_template = "{% if enable_thinking %}<think>{% endif %}{{ messages[0].content }}"
    text = render(tokenizer, TURNS, add_generation_prompt=True, date=None, enable_thinking=True)
    assert text == "<think>Be brief.\n"


@pytest.mark.parametrize("name", ENDLESS)
def test_what_would_never_end_ends_in_an_error_of_the_model(tokenizer, hasty, name):
    tokenizer.chat_template = ENDLESS[name]
    with pytest.raises(UserError, match=r"model: (one rendering of )?the chat template") as caught:
        render(tokenizer, TURNS[1:], add_generation_prompt=True, date=None)
    assert "chat_template.jinja" in caught.value.hint
    tokenizer.chat_template = "{{ messages[0].content }}"
    assert render(tokenizer, TURNS, add_generation_prompt=True, date=None) == "Be brief.\n", "the next one is rendered"


def test_the_limits_are_named(tokenizer, hasty):
    for name, said in (
        ("loops without output", r"0\.3 s of computing"),
        ("loops with output", "100,000 characters"),
        ("a repeated text", "268,435,456 bytes of memory"),
    ):
        tokenizer.chat_template = ENDLESS[name]
        with pytest.raises(UserError, match=f"takes more than {said}"):
            render(tokenizer, TURNS[1:], add_generation_prompt=True, date=None)


def test_threads_take_turns_and_each_gets_its_own_text(tokenizer):
    def ask(number):
        return render(tokenizer, [{"role": "user", "content": f"{number}"}], add_generation_prompt=False, date=None)

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(ask, range(200)))
    assert texts == [f"<|im_start|>user\n{number}<|im_end|>\n" for number in range(200)]


def test_it_ends_in_threads_too(tokenizer, hasty):
    tokenizer.chat_template = ENDLESS["loops without output"]
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(render, tokenizer, TURNS[1:], add_generation_prompt=True, date=None) for _ in range(3)]
        for one in asked:
            with pytest.raises(UserError, match="the chat template"):
                one.result(timeout=60)


@pytest.mark.parametrize("pattern", ["%d %b %Y", "%H:%M:%S", "%A"])
def test_a_date_is_asked_for_by_the_override_that_mends_it_and_then_stays(tokenizer, pattern):
    tokenizer.chat_template = f"{{{{ strftime_now({pattern!r}) }}}}{{{{ messages[0].content }}}}"
    with pytest.raises(UserError, match="writes today's date") as caught:
        render(tokenizer, TURNS, add_generation_prompt=False, date=None)
    assert "model.template_date=20" in caught.value.hint
    with pytest.raises(UserError, match=r"judge: (.|\n)*judge\.template_date=20"):
        render(tokenizer, TURNS, add_generation_prompt=False, date=None, whose="judge")
    expected = {"%d %b %Y": "26 Jul 2024", "%H:%M:%S": "00:00:00", "%A": "Friday"}[pattern]
    text = render(tokenizer, TURNS, add_generation_prompt=False, date="2024-07-26")
    assert text == f"{expected}Be brief.\n"


@pytest.mark.parametrize("chance", ["{{ [1, 2] | random }}", "{{ lipsum(1) }}"])
def test_a_text_by_chance_is_refused(tokenizer, chance):
    tokenizer.chat_template = chance
    with pytest.raises(UserError, match="the chat template refuses"):
        render(tokenizer, TURNS, add_generation_prompt=False, date=None)


@pytest.mark.parametrize(
    "broken", ["{% if", "{{ 1 + 'a' }}", "{{ messages[7].content }}", "{{ raise_exception('no') }}"]
)
def test_a_template_that_fails_is_an_error_of_the_model(tokenizer, broken):
    tokenizer.chat_template = broken
    with pytest.raises(UserError, match="model: the chat template refuses the turns system, user, assistant: "):
        render(tokenizer, TURNS, add_generation_prompt=False, date=None)


def test_of_several_templates_the_default_is_taken_and_without_one_the_user_chooses(tokenizer):
    tokenizer.chat_template = {"tool_use": "tools", "default": "plain"}
    assert render(tokenizer, TURNS, add_generation_prompt=False, date=None) == "plain"
    tokenizer.chat_template = {"tool_use": "tools", "rag": "documents"}
    for whose in ("model", "judge"):
        with pytest.raises(UserError, match=rf"^{whose}: .* several chat templates \(rag, tool_use\)(.|\n)*only"):
            render(tokenizer, TURNS, add_generation_prompt=False, date=None, whose=whose)


def test_half_a_character_that_the_template_writes_is_an_error_of_the_model(tokenizer):
    tokenizer.chat_template = "{{ '\\ud800' }}" + "{{ messages[1].content }}"
    plain = [{**turn, "content": "plain"} for turn in TURNS]
    with pytest.raises(UserError, match="model: the chat template writes half a character"):
        render(tokenizer, plain, add_generation_prompt=False, date=None)
    tokenizer.chat_template = "{{ raise_exception('\\ud800!') }}"
    with pytest.raises(UserError) as refused:
        render(tokenizer, plain, add_generation_prompt=False, date=None)
    assert str(refused.value).encode()  # can be printed and written


def test_the_process_that_renders_is_told_no_secret(tokenizer, monkeypatch):
    bounded_rendering.forget()
    monkeypatch.setenv("OPENAI_API_KEY", "planted-key")
    render(tokenizer, TURNS, add_generation_prompt=False, date=None)
    [renderer] = bounded_rendering._RENDERERS
    environment = Path(f"/proc/{renderer._process.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc here")
    assert b"planted-key" not in environment.read_bytes()
