"""What is asked: questions of each evaluation's file, a fixed sample of them, and where the files are found."""

import json

import polars as pl
import pytest

from notus_exp.disk.files import COMPLETIONS
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.questions import read_alpaca_prompts
from notus_exp.evaluation.generations import read_questions
from notus_exp.evaluation.hub_files import content_digest, locate
from notus_exp.evaluation.mt_bench.questions import read_turns_questions, read_turns_references
from notus_exp.evaluation.verifiable.measure import KEPT_APART
from notus_exp.feedback.simulated import constraint_prompts
from notus_exp.feedback.simulated.draws import VALIDATION_SEED
from notus_exp.stages.settings import GenerationsSettings


def spec(evaluation, **chosen):
    return GenerationsSettings(evaluation, chosen, 0, 8, 0.5, {"math": 0.0}, "", "float32", None)


def alpaca(path, texts):
    path.write_text(json.dumps([{"instruction": text, "output": "o", "dataset": "d"} for text in texts]))
    return {"alpaca_eval.prompts": [str(path)]}


def test_a_sample_is_the_same_questions_whatever_else_the_file_holds(tmp_path):
    texts = [f"question {number}" for number in range(30)]
    few = read_questions(spec("alpaca_eval", max_prompts=5), {}, alpaca(tmp_path / "a.json", texts))
    again = read_questions(spec("alpaca_eval", max_prompts=5), {}, alpaca(tmp_path / "b.json", texts[::-1]))
    assert len(few) == 5
    assert {question.prompt_id for question in few} == {question.prompt_id for question in again}
    assert [question.turns[0] for question in few] == [
        text for text in texts if prompt_id(text) in {question.prompt_id for question in few}
    ]


def test_a_prompt_that_comes_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds this twice: 'same'"):
        read_questions(spec("alpaca_eval", max_prompts=None), {}, alpaca(tmp_path / "a.json", ["same", "same"]))


def test_reference_answers_of_several_models_are_an_error(tmp_path):
    rows = [{"instruction": name, "output": "o", "generator": name} for name in "ab"]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"reference answers of several models \(generator: a, b\)"):
        read_alpaca_prompts(tmp_path / "a.json")


def test_a_category_has_its_temperature_and_the_rest_the_common_one(tmp_path):
    rows = [{"question_id": n, "category": c, "turns": [f"{c}?", "and?"]} for n, c in enumerate(["math", "odd"])]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_questions(spec("mt_bench", max_prompts=None), {}, {"mt_bench.questions": [str(tmp_path / "q.jsonl")]})
    assert [(question.category, question.temperature) for question in found] == [("math", 0.0), ("odd", 0.5)]
    assert found[0].turns == ("math?", "and?")


def test_a_prompt_without_text_is_an_error(tmp_path):
    with pytest.raises(UserError, match="has no text"):
        read_questions(spec("alpaca_eval", max_prompts=None), {}, alpaca(tmp_path / "a.json", ["a", " "]))


def test_a_files_digest_is_of_its_format_and_content_not_of_its_place(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.json", "sub/b.json", "c.jsonl"):
        (tmp_path / name).write_text("[]")
    first, moved, other = (content_digest(tmp_path / name) for name in ("a.json", "sub/b.json", "c.jsonl"))
    assert first == moved != other


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere.json", r"evaluation.x: there is no file 'nowhere.json'"),
        ("hf://datasets/only-one-part", r"is no file on the hub\n.*hf://datasets/OWNER/NAME@REVISION/PATH"),
        ("hf://datasets/owner/name/file.json", r"cannot be downloaded.*\n.*evaluation.x=FILE"),
    ],
)
def test_a_file_that_cannot_be_had_names_the_setting_and_the_remedy(place, words):
    with pytest.raises(UserError, match=words):
        locate(place, "evaluation.x")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question_id": 1, "category": "a", "turns": "Hello"}, "turns is 'Hello'"),
        ({"question_id": "1", "category": "a", "turns": ["b"]}, "question_id is '1'"),
        ({"question_id": 0, "category": "a", "turns": ["b"]}, "holds this twice: 'question_id 0'"),
    ],
)
def test_a_malformed_question_names_its_record(tmp_path, row, words):
    rows = [{"question_id": 0, "category": "a", "turns": ["c"]}, row]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(UserError, match=words):
        read_turns_questions(tmp_path / "q.jsonl")


def test_reference_answers_must_fit_their_question(tmp_path):
    (tmp_path / "q.jsonl").write_text(json.dumps({"question_id": 1, "category": "a", "turns": ["b", "c"]}) + "\n")
    (tmp_path / "r.jsonl").write_text(json.dumps({"question_id": 1, "choices": [{"turns": ["only one"]}]}) + "\n")
    questions = read_turns_questions(tmp_path / "q.jsonl")
    with pytest.raises(UserError, match="1 reference answers to the 2 turns of question 1"):
        read_turns_references(tmp_path / "r.jsonl", questions)
    (tmp_path / "r.jsonl").write_text(json.dumps({"question_id": 1, "choices": [{"turns": ["x", "y"]}]}) + "\n")
    assert read_turns_references(tmp_path / "r.jsonl", questions) == {questions[0].prompt_id: ("x", "y")}


def test_a_reference_answer_that_is_null_is_an_error_and_never_the_word_none(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": "a", "output": None}]))
    with pytest.raises(UserError, match="output is None"):
        read_alpaca_prompts(tmp_path / "a.json")


# ------------------------------------------------------------------------------------------------------- two splits
def verifiable(folder, number, split, seed=1):
    asked = GenerationsSettings(
        "verifiable", {"prompts": number, "split": split}, seed, 8, 0.0, {}, "", "float32", None
    )
    return read_questions(asked, {"feedback": folder}, {})


@pytest.fixture
def feedback(tmp_path):
    """Data that holds the first three prompts of either split, as made without any data."""
    ids = [prompt.prompt_id for seed in (1, 1 + VALIDATION_SEED) for prompt in constraint_prompts(3, seed, [])]
    pl.DataFrame({"prompt_id": ids}).write_parquet(tmp_path / COMPLETIONS)
    return tmp_path, set(ids)


def test_validation_prompts_are_neither_in_the_data_nor_asked_on_test(feedback):
    folder, seen = feedback
    tuning = {question.prompt_id for question in verifiable(folder, 400, "validation")}
    # two draws of this size do meet: the prompts must be kept apart, not only drawn anew
    drawn = {prompt.prompt_id for prompt in constraint_prompts(400, 1 + VALIDATION_SEED, seen)}
    test = {question.prompt_id for question in verifiable(folder, KEPT_APART, "test")}
    assert drawn & test
    assert len(tuning) == 400
    assert not tuning & (test | seen)
    assert {question.prompt_id for question in verifiable(folder, 50, "test")} <= test, "fewer are the first of many"


def test_test_prompts_stay_the_first_unseen_ones_of_their_seed(feedback):
    folder, seen = feedback
    expected = [(prompt.prompt_id, prompt.instruction) for prompt in constraint_prompts(9, 1, seen)]
    assert [(one.prompt_id, one.turns[0]) for one in verifiable(folder, 9, "test")] == expected
