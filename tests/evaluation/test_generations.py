"""Answers to constraint prompts: the tokens that the model prefers, ended and resumed where they should be."""

import json
import math
import shutil
from collections import Counter

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from notus_exp.disk import files
from notus_exp.disk.json_lines import append_line, sealed_line
from notus_exp.errors import UserError
from notus_exp.evaluation import generations as generation
from notus_exp.feedback.simulated import constraint_prompts, constraints
from notus_exp.generation import decoding
from notus_exp.generation.conversation import GENERATIONS_SCHEMA
from notus_exp.generation.decoding import Decoding, EncodedQuestion, GumbelNoise
from notus_exp.stages.settings import GenerationsSettings


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()


@pytest.fixture
def inputs(tiny_model_folder, tmp_path):
    folders = {name: tmp_path / f"{name}-0" for name in ("base_model", "feedback")}
    for folder in folders.values():
        folder.mkdir()
    (folders["base_model"] / files.MODEL).symlink_to(tiny_model_folder)
    seen = [prompt.prompt_id for prompt in constraint_prompts(2, 1, [])]
    pl.DataFrame({"prompt_id": seen}).write_parquet(folders["feedback"] / files.COMPLETIONS)
    return folders


def spec(prompts=6, temperature=0.0, max_new_tokens=8, **changes):
    settings = {
        "evaluation": "verifiable",
        "chosen": {"prompts": prompts, "split": "test"},
        "seed": 1,
        "temperatures": {},
    } | changes
    return GenerationsSettings(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        system_prompt="",
        precision="float32",
        endpoint_model=None,
        **settings,
    )


def generate(inputs, out, context, **settings):
    out.mkdir(exist_ok=True)
    facts = generation.run(spec(**settings), inputs, out, context)
    return facts, pl.read_parquet(out / files.GENERATIONS)


def greedy(model, prompt_ids, end_ids, most):
    """The most likely token, one by one, without padding, cache or batch."""
    ids = list(prompt_ids)
    while len(ids) < len(prompt_ids) + most:
        with torch.no_grad():
            ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
        if ids[-1] in end_ids:
            break
    return ids[len(prompt_ids) :]


def test_greedy_answers_are_the_most_likely_tokens_one_by_one(inputs, tmp_path, context, model, tiny_tokenizer):
    facts, table = generate(inputs, tmp_path / "out", context(generation_batch_size=4))
    ends = {tiny_tokenizer.eos_token_id}
    for row in table.iter_rows(named=True):
        assert row["response_ids"] == greedy(model, row["prompt_ids"], ends, 8)
    assert table["prompt_ids"].list.len().n_unique() > 1, "batches were padded"
    assert facts["prompts"] == len(table) == 6
    assert facts["tokens"] == table["tokens"].sum()
    assert facts["truncated"] == table["truncated"].sum()


def test_prompts_are_unseen_ones_in_their_order_with_their_constraints(inputs, tmp_path, context):
    _, table = generate(inputs, tmp_path / "out", context())
    seen = pl.read_parquet(inputs["feedback"] / files.COMPLETIONS)["prompt_id"].to_list()
    expected = constraint_prompts(6, 1, seen)
    assert table["prompt_id"].to_list() == [prompt.prompt_id for prompt in expected]
    assert not set(seen) & set(table["prompt_id"])
    assert [constraints.from_json(text) for text in table["constraints"]] == [list(p.constraints) for p in expected]
    assert table.schema == GENERATIONS_SCHEMA
    assert [p.name for p in (tmp_path / "out").iterdir()] == [files.GENERATIONS]


class Scripted(torch.nn.Module):
    """Stands in for a model: answers each prompt with the script that its last token numbers."""

    device = torch.device("cpu")

    def __init__(self, scripts):
        super().__init__()
        self.scripts = scripts

    def generate(self, input_ids, attention_mask, generation_config, logits_processor):
        longest = max(map(len, self.scripts))
        rows = [self.scripts[last] for last in input_ids[:, -1].tolist()]
        padded = [row + [generation_config.pad_token_id] * (longest - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)


def test_an_answer_ends_with_its_first_end_token_even_where_that_also_pads():
    settings = Decoding(max_new_tokens=4, seed=0, purpose="sampling", end_ids=[90, 91], pad_id=90)
    scripted = Scripted([[5, 91], [90], [6, 7, 8, 9]])
    batch = [EncodedQuestion("a" * 16, [0]), EncodedQuestion("b" * 16, [3, 1]), EncodedQuestion("c" * 16, [2])]
    assert decoding.generate(scripted, batch, settings, "float32") == [[5, 91], [90], [6, 7, 8, 9]]


def test_tokens_and_truncation_are_counted_without_the_end_token(
    inputs, tmp_path, context, tiny_tokenizer, monkeypatch
):
    end = tiny_tokenizer.eos_token_id
    text = tiny_tokenizer("  so it is \n", add_special_tokens=False)["input_ids"]
    scripts = iter([[[*text, end], [end], text]])
    monkeypatch.setattr(decoding, "generate", lambda *args: next(scripts))
    _, table = generate(inputs, tmp_path / "out", context(), prompts=3)
    table = table.sort("truncated", pl.col("tokens"), descending=[False, True])
    assert table["response"].to_list() == ["  so it is \n", "", "  so it is \n"]
    assert table["tokens"].to_list() == [len(text), 0, len(text)]
    assert table["truncated"].to_list() == [False, False, True]
    assert table["response_ids"].list.len().to_list() == [len(text) + 1, 1, len(text)]


def test_end_tokens_come_from_tokenizer_model_and_template(model, tiny_tokenizer):
    im_end = tiny_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert decoding.end_tokens(tiny_tokenizer, model, "") == [im_end]
    before = tiny_tokenizer.eos_token, model.generation_config.eos_token_id
    try:
        tiny_tokenizer.eos_token, model.generation_config.eos_token_id = "<|endoftext|>", [7]
        assert decoding.end_tokens(tiny_tokenizer, model, "") == sorted({im_end, tiny_tokenizer.eos_token_id, 7})
    finally:
        tiny_tokenizer.eos_token, model.generation_config.eos_token_id = before


def test_the_models_own_generation_settings_change_nothing(inputs, tmp_path, context):
    _, plain = generate(inputs, tmp_path / "plain", context(), prompts=2)
    folder = inputs["base_model"] / files.MODEL
    opinionated = tmp_path / "opinionated"
    shutil.copytree(folder.resolve(), opinionated)
    settings = json.loads((opinionated / "generation_config.json").read_text())
    first = plain["response_ids"].list.first().to_list()
    settings |= {"repetition_penalty": 3.0, "suppress_tokens": first, "do_sample": True, "min_new_tokens": 3}
    (opinionated / "generation_config.json").write_text(json.dumps(settings))
    folder.unlink()
    folder.symlink_to(opinionated)
    assert generate(inputs, tmp_path / "out", context(), prompts=2)[1].equals(plain)


# ------------------------------------------------------------------------------------------------------------- sampling
def test_sampled_answers_do_not_depend_on_the_batch(inputs, tmp_path, context):
    _, one = generate(inputs, tmp_path / "one", context(generation_batch_size=1), temperature=1.0)
    _, six = generate(inputs, tmp_path / "six", context(generation_batch_size=6), temperature=1.0)
    _, cold = generate(inputs, tmp_path / "cold", context(generation_batch_size=6))
    assert one.equals(six)
    assert one["response_ids"].to_list() != cold["response_ids"].to_list()


def test_noise_samples_the_softmax_at_its_temperature():
    scores = torch.tensor([[0.0, 1.0, 2.0]])
    noise = GumbelNoise(temperatures=[2.0], seeds=[11])
    n = 4000
    drawn = Counter(noise(torch.zeros(1, 1), scores).argmax().item() for _ in range(n))
    weights = [math.exp(score / 2.0) for score in (0.0, 1.0, 2.0)]
    for token, weight in enumerate(weights):
        p = weight / sum(weights)
        assert abs(drawn[token] / n - p) < 4 * math.sqrt(p * (1 - p) / n)


# --------------------------------------------------------------------------------------------------------------- resume
def test_a_killed_attempt_goes_on_with_the_batch_it_was_at(inputs, tmp_path, context, monkeypatch):
    _, whole = generate(inputs, tmp_path / "whole", context(generation_batch_size=2))
    calls, real = [], decoding.generate

    def dies_in_the_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(decoding, "generate", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        generate(inputs, tmp_path / "killed", context(generation_batch_size=2))
    with (tmp_path / "killed" / files.ANSWERS.format(1)).open("a") as stream:
        stream.write('{"half a li')
    _, resumed = generate(inputs, tmp_path / "killed", context(generation_batch_size=2))
    assert len(calls) == 4, "two batches, the killed one, and that one again"
    assert resumed.equals(whole)


def test_answers_of_other_batches_are_dropped(tmp_path):
    path = tmp_path / files.ANSWERS.format(1)
    a, b, c = (EncodedQuestion(letter * 16, [1]) for letter in "abc")
    path.write_text(json.dumps({a.prompt_id: [5], b.prompt_id: [6]}) + "\n" + json.dumps({c.prompt_id: [7]}) + "\n")
    assert len(decoding.read_finished(path, [[a, b], [c]])) == 2
    assert decoding.read_finished(path, [[a], [b], [c]]) == []
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(": [6", ": [7", 1), ("[6", '["6"', 1), ('"seal"', '"seam"', 0), ("[5", "[5, 5", 0), ("[5", "{5", 0), ("", "", 2)],
)
def test_answers_that_are_not_what_was_written_are_made_again_and_said(tmp_path, before, after, kept):
    path = tmp_path / files.ANSWERS.format(1)
    batches = [[EncodedQuestion("a" * 16, [1])], [EncodedQuestion("b" * 16, [2])]]
    for number, [question] in enumerate(batches, start=5):
        append_line(path, sealed_line({question.prompt_id: [number]}, ["policy", [question.ids]]))
    path.write_text(path.read_text().replace(before, after, 1))
    said = []
    assert decoding.read_finished(path, batches, "policy", said.append) == [{"a" * 16: [5]}, {"b" * 16: [6]}][:kept]
    assert len(path.read_text().splitlines()) == kept
    assert len(said) == (kept < 2)
    assert decoding.read_finished(path, batches, "another policy", said.append) == []
    assert path.read_text() == ""


def test_batches_hold_prompts_of_similar_length_longest_first():
    prompts = [EncodedQuestion(f"{n:016x}", [1] * length) for n, length in enumerate([3, 9, 1, 9, 4])]
    lengths = [[len(prompt.ids) for prompt in batch] for batch in decoding.make_batches(prompts, 2)]
    assert lengths == [[9, 9], [4, 3], [1]]


def test_more_tokens_than_the_model_reads_are_an_error(inputs, tmp_path, context):
    with pytest.raises(UserError, match=r"max_new_tokens=2048 .* 2048 that the model reads"):
        generate(inputs, tmp_path / "out", context(), max_new_tokens=2048)


# ---------------------------------------------------------------------------------------------------- other evaluations
def write_questions(path):
    rows = [
        {"question_id": 1, "category": "writing", "turns": ["Write a poem.", "Write it again."]},
        {"question_id": 2, "category": "math", "turns": ["What is 1 + 1?", "And 2 + 2?"]},
        {"question_id": 3, "category": "odd", "turns": ["Say hello."]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def mt_bench(**changes):
    temperatures = {"writing": 1.0, "math": 0.0}
    return spec(
        evaluation="mt_bench", chosen={"prompts": "digest", "max_prompts": None}, temperatures=temperatures, **changes
    )


def test_a_second_turn_is_answered_after_the_first_answer(inputs, tmp_path, context, model, tiny_tokenizer):
    rows = write_questions(tmp_path / "questions.jsonl")
    out = tmp_path / "out"
    out.mkdir()
    where = context(sources={"mt_bench.questions": [str(tmp_path / "questions.jsonl")]})
    facts = generation.run(mt_bench(), inputs, out, where)
    table = pl.read_parquet(out / files.GENERATIONS)
    assert table["turn"].to_list() == [1, 2, 1, 2, 1]
    assert table["category"].to_list() == ["writing", "writing", "math", "math", "odd"]
    assert table["instruction"].to_list() == [turn for row in rows for turn in row["turns"]]
    assert (facts["prompts"], facts["answers"]) == (3, 5)
    first, second = table.row(2, named=True), table.row(3, named=True)
    turns = [("system", ""), ("user", "What is 1 + 1?"), ("assistant", first["response"]), ("user", "And 2 + 2?")]
    templated = tiny_tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns], add_generation_prompt=True, return_dict=True
    )
    assert second["prompt_ids"] == list(templated["input_ids"])
    assert second["response_ids"] == greedy(model, second["prompt_ids"], {tiny_tokenizer.eos_token_id}, 8)


def test_a_later_turn_without_room_is_empty_and_truncated(inputs, tmp_path, context):
    long = {"question_id": 1, "category": "math", "turns": ["a", "b" * 2100]}
    (tmp_path / "questions.jsonl").write_text(json.dumps(long) + "\n")
    out = tmp_path / "out"
    out.mkdir()
    generation.run(
        mt_bench(), inputs, out, context(sources={"mt_bench.questions": [str(tmp_path / "questions.jsonl")]})
    )
    table = pl.read_parquet(out / files.GENERATIONS)
    assert (table["response"][1], table["truncated"][1], table["tokens"][1]) == ("", True, 0)


def test_a_row_at_temperature_zero_stays_greedy_beside_a_sampled_one():
    scores = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    noise = GumbelNoise(temperatures=[0.0, 1.0], seeds=[1, 2])
    perturbed = noise(torch.zeros(2, 1), scores)
    assert torch.equal(perturbed[0], scores[0])
    assert not torch.equal(perturbed[1], scores[1])
