"""Supervised training on a tiny random model: TRL's own losses, the same bits after a kill, one model of an adapter."""

import json
import math
import shutil
from dataclasses import replace

import polars as pl
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from notus_exp.config.training_settings import Precision, SpecialTokens
from notus_exp.disk import events, files
from notus_exp.errors import UserError
from notus_exp.models import merged
from notus_exp.models.dialogues import IGNORED, Templating, encode_dialogues
from notus_exp.models.pretrained import load_model, load_tokenizer
from notus_exp.training import frame, prepared, sft
from support.recipes import machine
from support.supervised import ADAPTER, MARKED, chat, chat_recipe, chosen_recipe, finetune, write_chats
from support.trainings import N_TRAIN, N_VALIDATION, step_events, weights

CHATS = [chat(number, turns=1 + number % 3) for number in range(14)]
MEASURES = ("loss", "accuracy", "entropy")


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    return write_chats(tmp_path_factory.mktemp("chats") / "chats.jsonl", CHATS)


# ----------------------------------------------------------------------------------------------- against TRL's own path
def test_losses_are_those_of_trl_with_its_assistant_only_loss(artifacts, chats, tiny_model_folder, tmp_path):
    facts = finetune(artifacts, tmp_path / "ours", chat_recipe(epochs=2.0, max_length=120), chats=chats)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    tokenizer.chat_template = MARKED
    config = SFTConfig(
        output_dir=str(tmp_path / "trl"), learning_rate=1e-3, lr_scheduler_type="linear", warmup_steps=0, seed=3,
        data_seed=3, per_device_train_batch_size=4, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True,
        bf16=False, gradient_checkpointing=False, num_train_epochs=2, disable_tqdm=True, max_length=120,
        assistant_only_loss=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list([{"messages": turns} for turns in CHATS]),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert facts["steps"] == len(logged) == 2 * math.ceil(len(CHATS) / 4)
    assert step_events(tmp_path / "ours") == pytest.approx([entry["loss"] for entry in logged], abs=1e-5)
    accuracies = [entry["mean_token_accuracy"] for entry in logged]
    assert step_events(tmp_path / "ours", "train/accuracy") == pytest.approx(accuracies, abs=1e-5)
    trained = trainer.model.state_dict()
    for name, tensor in weights(tmp_path / "ours").items():
        torch.testing.assert_close(tensor, trained[name], atol=1e-5, rtol=0)


# ----------------------------------------------------------------------------------------------------- what is computed
@pytest.mark.parametrize("batching", ["random", "length"])
def test_micro_batches_do_not_change_a_step_nor_what_is_measured(artifacts, chats, tmp_path, batching):
    """Conversations of unlike lengths in batches of 8: the second step has fewer, in passes of 2 unevenly.

    By SGD, whose step is in proportion to the gradient: Adam's is as large for one that is nothing but rounding.
    """
    recipe = chat_recipe(global_batch_size=8, validation=0.2, batching=batching, optimizer="sgd", learning_rate=1.0)
    for name, micro in (("one", 8), ("four", 2)):
        finetune(artifacts, tmp_path / name, recipe, machine(micro_batch_size=micro), chats=chats)
    for measure in MEASURES:
        for part in ("train", "validation"):
            one, four = (step_events(tmp_path / name, f"{part}/{measure}") for name in ("one", "four"))
            assert one
            assert four == pytest.approx(one, abs=1e-5), (part, measure)
    begun = load_file(artifacts["base_model"] / files.MODEL / "model.safetensors")
    one, four = (weights(tmp_path / name) for name in ("one", "four"))
    assert max((one[name] - tensor).abs().max().item() for name, tensor in begun.items()) > 1e-2, "it moved"
    for name, tensor in one.items():
        torch.testing.assert_close(four[name], tensor, atol=1e-5, rtol=0)


def mean_loss(folder, conversations):
    """The mean negative log-prob of all tokens that assistants say, one by one, in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).double().eval()
    tokenizer, found = load_tokenizer(folder), []
    how = Templating(None, 10_000, None, last_only=False, special_tokens=SpecialTokens.keep)
    for told in encode_dialogues(tokenizer, conversations, how):
        with torch.no_grad():
            logps = model(torch.tensor([told.ids])).logits[0].log_softmax(dim=-1)
        found += [-logps[i - 1, label].item() for i, label in enumerate(told.labels) if label != IGNORED]
    return sum(found) / len(found)


def test_a_step_begins_at_the_mean_over_all_tokens_that_are_learnt(artifacts, chats, tiny_model_folder, tmp_path):
    recipe = chat_recipe(global_batch_size=16, max_steps=1, evaluations=0)
    facts = finetune(artifacts, tmp_path, recipe, machine(micro_batch_size=4), chats=chats)
    assert facts["train/loss"] == pytest.approx(mean_loss(tiny_model_folder, CHATS), rel=1e-5)


def test_chosen_responses_are_learnt_once_each_and_nothing_of_the_test_split_is(artifacts, tmp_path):
    inputs = {name: tmp_path / f"{name}-0123456789abcdef" for name in ("pairs", "base_model")}
    inputs["base_model"].symlink_to(artifacts["base_model"])
    inputs["pairs"].mkdir()
    pairs = pl.read_parquet(artifacts["pairs"] / files.PAIRS)
    tested = pairs.head(2).with_columns(split=pl.lit("test"), row=pl.col("row") + 100)
    pl.concat([pairs, pairs.head(3), tested]).write_parquet(inputs["pairs"] / files.PAIRS)
    facts = finetune(inputs, tmp_path / "out", chosen_recipe(epochs=2.0))
    expected = {
        "conversations": N_TRAIN + 1 + N_VALIDATION, "conversations_repeated": 3, "conversations_trained": N_TRAIN + 1,
        "validation_conversations": N_VALIDATION, "conversations_too_long": 0, "conversations_truncated": 0,
        "steps": 6, "epochs": 2.0, "parameters": 91136, "architecture": "LlamaForCausalLM",
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    assert facts["trainable_parameters"] == facts["parameters"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"events.jsonl", "followed.jsonl", "model"}


def test_less_is_measured_where_less_is_asked_for(artifacts, tmp_path):
    facts = finetune(artifacts, tmp_path / "two", chosen_recipe(max_validation=2, max_steps=1))
    assert facts["validation_conversations"] == 2
    assert "validation/loss" in facts
    assert "validation/loss" not in finetune(artifacts, tmp_path / "none", chosen_recipe(evaluations=0, max_steps=1))


# ------------------------------------------------------------------------------------------------------ what is written
def test_an_adapter_is_merged_in_float32_into_a_whole_model(artifacts, tmp_path, monkeypatch):
    kept, merge = tmp_path / "kept", merged.merge

    def keeping(base, adapter, into, hardware):
        shutil.copytree(adapter, kept)
        merge(base, adapter, into, hardware)

    monkeypatch.setattr(sft, "merge", keeping)
    facts = finetune(artifacts, tmp_path / "out", chosen_recipe(lora=ADAPTER, learning_rate=1e-2))
    base, model = artifacts["base_model"] / files.MODEL, tmp_path / "out" / files.MODEL
    assert not (tmp_path / "out" / sft.ADAPTER).exists()
    assert not (model / "adapter_config.json").exists()
    beside = load_model(base, kept, "float32", machine())
    alone, before = (load_model(folder, None, "float32", machine()) for folder in (model, base))
    text = torch.tensor([load_tokenizer(base)("Say something of the rain.")["input_ids"]])
    with torch.no_grad():
        theirs, ours, first = (one(text).logits for one in (beside, alone, before))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert (ours - first).abs().max() > 1e-2, "it learnt something"
    assert facts["trainable_parameters"] < facts["parameters"] == 91136
    assert "an adapter that was merged" in (model / "README.md").read_text()


@pytest.mark.parametrize("lora", [ADAPTER, replace(ADAPTER, r=0)])
def test_the_weights_are_in_the_recipes_precision_and_the_tokenizer_is_the_bases(artifacts, tmp_path, lora):
    finetune(artifacts, tmp_path, chosen_recipe(lora=lora, precision=Precision.bfloat16, max_steps=1))
    base, model = artifacts["base_model"] / files.MODEL, tmp_path / files.MODEL
    (found,) = model.glob("*.safetensors")
    assert {tensor.dtype for tensor in load_file(found).values()} == {torch.bfloat16}
    assert json.loads((model / "config.json").read_text())["dtype"] == "bfloat16"
    same = {path.name for path in base.iterdir()} - {"config.json", "generation_config.json", "model.safetensors"}
    assert "tokenizer.json" in same
    assert all((model / name).read_bytes() == (base / name).read_bytes() for name in same)


def test_a_card_says_what_it_was_made_of(artifacts, chats, tmp_path):
    finetune(artifacts, tmp_path / "chosen", chosen_recipe(max_steps=1))
    finetune(artifacts, tmp_path / "chat", chat_recipe(max_steps=1), chats=chats)
    chosen, chat_ = ((tmp_path / name / files.MODEL / "README.md").read_text() for name in ("chosen", "chat"))
    for text in (chosen, chat_):
        assert text.startswith("---\nbase_model: ")
        assert "| sft.learning_rate | 0.001 |" in text
    assert "the chosen responses of pairs curated from AI feedback" in chosen
    assert "| counts.dropped.ties | 5 |" in chosen
    assert "## Pairs" not in chat_


# ----------------------------------------------------------------------------------------------------------- robustness
def killed_after_a_checkpoint(monkeypatch, *given, **named):
    """Train until a first checkpoint is whole, and end there as a kill does."""
    mark = prepared.mark_complete

    def mark_and_end(*marked):
        mark(*marked)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepared, "mark_complete", mark_and_end)
        finetune(*given, **named)


@pytest.mark.parametrize("lora", [replace(ADAPTER, dropout=0.1), replace(ADAPTER, r=0)])
def test_a_killed_training_resumes_to_the_same_bits(artifacts, chats, tmp_path, monkeypatch, lora):
    recipe = chat_recipe(lora=lora, epochs=2.0, checkpoints=3, evaluations=2, warmup=0.2, validation=0.2)
    whole = finetune(artifacts, tmp_path / "whole", recipe, chats=chats)
    killed_after_a_checkpoint(monkeypatch, artifacts, tmp_path / "killed", recipe, chats=chats)
    assert len([*(tmp_path / "killed" / frame.CHECKPOINTS).iterdir()]) == 1
    resumed = finetune(artifacts, tmp_path / "killed", recipe, chats=chats)
    differing = {name for name in whole if resumed[name] != whole[name]}
    assert differing <= {"seconds", "peak_memory_bytes", "throughput"}
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "killed")[name], tensor)
    told = [[(e.step, e.metrics) for e in events.read(tmp_path / n / files.EVENTS)] for n in ("whole", "killed")]
    assert told[0] == told[1]
    assert not (tmp_path / "killed" / frame.DATASET).exists()


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_settings_of_this_group(artifacts, tmp_path):
    broken = chosen_recipe(optimizer="sgd", learning_rate=1e30, max_grad_norm=1e9)
    with pytest.raises(UserError, match=r"(loss|gradient norm) of step \d is (nan|inf)") as caught:
        finetune(artifacts, tmp_path, broken)
    assert "sft.learning_rate" in caught.value.hint
    assert not (tmp_path / files.MODEL).exists()


WRONG = {
    "max_length": (chosen_recipe(max_length=8), "none of 12 conversations is left to train on: 12 have no answer"),
    "max_truncated": (chosen_recipe(max_length=60, max_truncated=0.1), "lose their end at sft.max_length=60"),
    "layers": (chosen_recipe(lora=replace(ADAPTER, target_modules=["q_prj"])), "sft.lora.target_modules has 'q_prj'"),
    "positions": (chosen_recipe(max_length=10**6), "sft.max_length=1000000 is more than"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_before_anything_is_trained(artifacts, tmp_path, name, monkeypatch):
    recipe, told = WRONG[name]
    monkeypatch.setattr(sft, "_make_trainer", None)
    with pytest.raises(UserError) as caught:
        finetune(artifacts, tmp_path, recipe, max_truncated=recipe.max_truncated)
    assert told in caught.value.message
    assert "dpo." not in caught.value.message + caught.value.hint
