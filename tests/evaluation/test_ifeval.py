import json
import random
import subprocess
import sys

import polars as pl
import pytest

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.evaluation.ifeval.checking import (
    IFEvalPrompt,
    counts,
    estimates,
    left_out,
    measure,
    read_prompts,
    read_responses,
    without,
)
from support.places import REPLAY

IFEVAL = REPLAY / "ifeval"
RESPONSES = "input_response_data_gpt4_20231107_145030.jsonl"
replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")

NO_COMMA = "punctuation:no_comma"
LOWERCASE = "change_case:english_lowercase"
WORDS = "length_constraints:number_words"
A = IFEvalPrompt(1, "Describe a harbour. No commas. Lower case.", (NO_COMMA, LOWERCASE), ({}, {}))
B = IFEvalPrompt(2, "At least five words.", (WORDS,), ({"relation": "at least", "num_words": 5},))
FINE = "the boats lie in the harbour and the water is calm this morning"


def answered(**responses: str) -> dict[str, str]:
    prompts = {"a": A, "b": B}
    return {prompt_id(prompts[name].text): response for name, response in responses.items()}


@pytest.fixture(scope="module")
def expected():
    return json.loads((REPLAY / "expected.json").read_text())["ifeval/gpt4 reference (538, without keys 1122,1129)"]


@pytest.fixture(scope="module")
def gpt4():
    prompts = read_prompts(IFEVAL / "input_data.jsonl")
    return measure(prompts, read_responses(IFEVAL / RESPONSES), nltk_data=IFEVAL / "nltk_data")


def test_each_instruction_has_its_verdict():
    table = measure([A, B], answered(a="The boats lie, in the harbour and the water is calm", b="only four words here"))
    assert table["key"].to_list() == [1, 2]
    assert table["strict"].to_list() == [[False, False], [False]]
    table = measure([A, B], answered(a=FINE, b="here are five words indeed"))
    assert table["strict"].to_list() == [[True, True], [True]]


def test_loose_forgives_a_first_line():
    table = measure([A], answered(a=f"Sure, here it is:\n{FINE}"))
    assert table["strict"].to_list() == [[False, False]]
    assert table["loose"].to_list() == [[True, True]]


@pytest.mark.parametrize("response", ["", "  \n", "<think>what would be calm</think>", "<think>never ends"])
def test_an_empty_answer_follows_nothing_and_counts(response):
    table = measure([A, B], answered(a=response, b="here are five words indeed"))
    found = counts(table)
    assert found["prompt_strict"] == found["prompt_loose"] == (1, 2)
    assert found["inst_strict"] == found["inst_loose"] == (1, 3)
    assert left_out(table) == {"prompts": 2, "prompts_without_answer": 0, "empty_answers": 1}


def test_a_prompt_without_an_answer_is_left_out_and_counted():
    table = measure([A, B], answered(b="here are five words indeed"))
    assert counts(table)["prompt_strict"] == (1, 1)
    assert counts(table)["inst_strict"] == (1, 1)
    assert left_out(table)["prompts_without_answer"] == 1


def test_an_unknown_instruction_is_an_error_with_the_nearest():
    wrong = A._replace(instructions=("punctuation:no_coma", LOWERCASE))
    with pytest.raises(UserError, match=r"prompt 1: unknown instruction 'punctuation:no_coma'\n  did you mean"):
        measure([wrong], answered(a=FINE))


def test_arguments_that_an_instruction_does_not_take_are_an_error_with_the_key():
    wrong = B._replace(arguments=({"number": 5},))
    with pytest.raises(UserError, match=r"prompt 2 .* cannot be checked"):
        measure([wrong], answered(b="x"))


def test_kinds_are_counted_and_estimated():
    table = measure([A, B], answered(a=f"{FINE}, and so on", b="here are five words indeed"))
    found = counts(table)
    assert found[f"kind/{NO_COMMA}/strict"] == (0, 1)
    assert found[f"kind/{LOWERCASE}/loose"] == (1, 1)
    shares = estimates(table)
    assert shares["ifeval/prompt_strict"][::3] == (0.5, 2)
    assert shares["ifeval/inst_strict"].value == pytest.approx(2 / 3)
    assert shares["ifeval/inst_strict"].n == 2  # prompts, whose instructions share an answer
    assert shares[f"ifeval/kind/{WORDS}/strict"].value == 1


def test_base_and_policy_are_paired_by_prompt():
    policy = measure([A, B], answered(a=FINE, b="here are five words indeed"))
    base = measure([B, A], answered(a=f"{FINE}, and so on", b="here are five words indeed"))
    found = estimates(policy, base)
    assert found["difference/ifeval/prompt_strict"].value == 0.5
    assert found["difference/ifeval/inst_strict"].value == pytest.approx(1 / 3)
    assert found["base/ifeval/prompt_strict"].value == 0.5


def test_verdicts_that_depend_on_a_draw_repeat_and_leave_the_programs_randomness_alone():
    drawn = IFEvalPrompt(
        3, "A letter.", ("keywords:letter_frequency",), ({"let_relation": "less than", "let_frequency": 2},)
    )
    prompts = [drawn._replace(key=key, text=f"A letter {key}.") for key in range(200)]
    responses = {prompt_id(prompt.text): "abc abd" for prompt in prompts}
    random.seed(5)
    after = random.Random(5).random()
    first = measure(prompts, responses)
    assert random.random() == after
    assert measure(prompts, responses).equals(first)
    assert first["strict"].n_unique() == 2, "some letters are seldom enough and some are not"
    assert measure(prompts[::-1], responses).reverse().equals(first)


def test_missing_tables_say_what_to_do(monkeypatch):
    import nltk

    sentences = IFEvalPrompt(4, "One.", ("length_constraints:number_sentences",), ({"relation": "less than"},))
    monkeypatch.setattr(nltk.data, "path", [])
    from if_verifiable.ifeval import instructions_util

    instructions_util._get_sentence_tokenizer.cache_clear()
    with pytest.raises(UserError, match=r"punkt_tab[\s\S]*NLTK_DATA"):
        measure([sentences], {prompt_id("One."): "One sentence."})


def test_excluded_keys_are_left_out_and_unknown_ones_refused():
    assert without([A, B], [1]) == [B]
    with pytest.raises(UserError, match="no prompt has the key 7"):
        without([A, B], [7])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"key": 1, "prompt": "p", "instruction_id_list": [NO_COMMA], "kwargs": []}, "record 1 is no prompt of IFEval"),
        ({"key": 1, "prompt": "p", "instruction_id_list": [NO_COMMA]}, "record 1 has no 'kwargs'"),
    ],
)
def test_bad_prompts_are_refused_with_their_place(tmp_path, row, said):
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=said):
        read_prompts(tmp_path / "p.jsonl")


def test_a_prompt_answered_twice_is_refused(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"prompt": "p", "response": "x"}\n' * 2)
    with pytest.raises(UserError, match="holds a prompt twice: 'p'"):
        read_responses(tmp_path / "r.jsonl")


def test_the_module_loads_no_datasets_before_it_checks():
    code = "import sys, notus_exp.evaluation.ifeval.checking; sys.exit(bool({'datasets', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@replay
def test_gpt4s_published_counts(gpt4, expected):
    found = counts(gpt4.filter(~pl.col("key").is_in([1122, 1129])))
    for name, wanted in expected.items():
        assert list(found[name]) == wanted, name


@replay
def test_every_reference_verdict_but_two_that_draw_a_letter(gpt4):
    reference = pl.read_ndjson(IFEVAL / "reference_verdicts.jsonl").rename({"instruction_id_list": "instructions"})
    columns = ["key", "instructions", "strict", "loose"]
    ours, theirs = (table.filter(~pl.col("key").is_in([1122, 1129])).select(columns) for table in (gpt4, reference))
    assert ours.height == 538
    assert ours.equals(theirs)
