import dataclasses
import json
import math

import pytest
import torch
from transformers import LlamaForSequenceClassification

from notus_exp.errors import UserError
from notus_exp.judging.judge import grade, prefer
from notus_exp.judging.verdicts import AnswerPair
from support.judges import grading, pair, reward_judge
from support.reward_models import save_reward_model


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory, tiny_model_folder):
    return save_reward_model(tmp_path_factory.mktemp("reward"), tiny_model_folder, outputs=1)


def score_alone(folder, tokenizer, *texts):
    """The model's output for one conversation, without padding, by hand."""
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    chat = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        return float(model(torch.tensor([ids])).logits[0, 0])


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_preference_is_one_plus_the_bradley_terry_probability(reward_folder, tiny_tokenizer, cpu, tmp_path, size):
    pairs = [
        AnswerPair(p.prompt_id, p.instruction, p.reference, p.model * (i + 1))
        for i, p in enumerate(map(pair, range(5)))
    ]
    hardware = dataclasses.replace(cpu, scoring_batch_size=size)
    judged = prefer(pairs, reward_judge(reward_folder), tmp_path / "unused", hardware=hardware)
    for p, verdict in zip(pairs, judged.verdicts, strict=True):
        model = score_alone(reward_folder, tiny_tokenizer, p.instruction, p.model)
        reference = score_alone(reward_folder, tiny_tokenizer, p.instruction, p.reference)
        assert verdict.value == pytest.approx(1 + 1 / (1 + math.exp(reference - model)), abs=1e-5)
        assert json.loads(verdict.raw) == pytest.approx({"model": model, "reference": reference}, abs=1e-5)
        assert (verdict.order, verdict.reason, verdict.cost) == ("", "", None)
    assert len({round(verdict.value, 3) for verdict in judged.verdicts}) > 1, "the model tells answers apart"
    assert not (tmp_path / "unused").exists()


def test_swapping_the_answers_mirrors_the_preference(reward_folder, tmp_path):
    one, two = pair(1), AnswerPair(pair(1).prompt_id, "Question 1?", "model 1", "reference 1")
    first, second = prefer([one, two], reward_judge(reward_folder), tmp_path).verdicts
    assert first.value + second.value == pytest.approx(3)
    same = AnswerPair("0" * 16, "Question 1?", "model 1", "model 1")
    assert prefer([same], reward_judge(reward_folder), tmp_path).verdicts[0].value == 1.5


def test_each_answer_is_scored_once(reward_folder, tmp_path):
    shown = []
    one = pair(1)
    prefer([one, one, one], reward_judge(reward_folder), tmp_path, lambda done, total: shown.append((done, total)))
    assert shown == [(1, 2), (2, 2)]


def test_a_grading_is_the_score_of_the_whole_conversation(reward_folder, tiny_tokenizer, tmp_path):
    judged = grade([grading(1), grading(1, 2)], reward_judge(reward_folder), tmp_path)
    expected = [
        score_alone(reward_folder, tiny_tokenizer, "Question 1.1?", "answer 1.1"),
        score_alone(reward_folder, tiny_tokenizer, "Question 1.1?", "answer 1.1", "Question 1.2?", "answer 1.2"),
    ]
    assert [verdict.value for verdict in judged.verdicts] == pytest.approx(expected, abs=1e-5)
    assert [verdict.turn for verdict in judged.verdicts] == [1, 2]


def test_a_conversation_that_is_too_long_gets_no_verdict(reward_folder, tmp_path):
    long = AnswerPair("0" * 16, "Question?", "short", "long " * 200)
    [verdict] = prefer([long], reward_judge(reward_folder, max_length=100), tmp_path).verdicts
    assert verdict.value is None
    assert verdict.reason.startswith("model: ")
    assert "judge.max_length=100" in verdict.reason
    assert json.loads(verdict.raw)["model"] is None


def test_a_model_without_a_pad_token_scores_one_by_one(tiny_model_folder, reward_folder, tmp_path, cpu):
    folder = save_reward_model(tmp_path / "no_pad", tiny_model_folder, outputs=1, pad=False)
    pairs = [pair(1), pair(22)]
    with_pad = prefer(pairs, reward_judge(reward_folder), tmp_path, hardware=cpu)
    without = prefer(pairs, reward_judge(folder), tmp_path, hardware=dataclasses.replace(cpu, scoring_batch_size=8))
    assert [v.value for v in without.verdicts] == pytest.approx([v.value for v in with_pad.verdicts], abs=1e-6)


def test_what_is_no_reward_model_is_refused(tiny_model_folder, tmp_path):
    with pytest.raises(UserError, match=r"is no reward model: it lacks the weights .*score"):
        prefer([pair(1)], reward_judge(tiny_model_folder), tmp_path)
    with pytest.raises(UserError, match="has 3 outputs"):
        prefer([pair(1)], reward_judge(save_reward_model(tmp_path / "three", tiny_model_folder, outputs=3)), tmp_path)
    with pytest.raises(UserError, match="cannot be loaded"):
        prefer([pair(1)], reward_judge(tmp_path / "absent"), tmp_path)


def test_pickled_weights_are_refused(reward_folder, tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in reward_folder.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        prefer([pair(1)], reward_judge(folder), tmp_path)


def test_a_template_that_writes_the_date_needs_the_judges_own(tmp_path, tiny_model_folder):
    folder = save_reward_model(tmp_path / "dated", tiny_model_folder, outputs=1)
    template = folder / "chat_template.jinja"
    template.write_text("{{ strftime_now('%d %B %Y') }}" + template.read_text())
    with pytest.raises(UserError, match=r"judge\.template_date=20"):
        prefer([pair(1)], reward_judge(folder), tmp_path / "unused")
    days = [reward_judge(folder, template_date=day) for day in ("2024-07-26", "2024-07-26", "2025-11-03")]
    one, again, other = (prefer([pair(1)], judge, tmp_path / "unused").verdicts[0].value for judge in days)
    assert one == again != other
