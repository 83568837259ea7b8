"""Training with DPO on a tiny random model: the same losses as TRL's own path, exact resume, honest counts."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from notus_exp.config.training_settings import LOSSES, Precision, SpecialTokens
from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.disk import events, files
from notus_exp.errors import UserError
from notus_exp.stages.context import Requirements
from notus_exp.stages.settings import PolicySettings, to_json
from notus_exp.training import checkpoints, dpo, joined_pairs, model_card, trainer
from support.places import ROOT
from support.recipes import LORA, machine, recipe
from support.trainings import (
    FULL,
    N_TRAIN,
    N_VALIDATION,
    context_in,
    conversation,
    step_events,
    train,
    weights,
)  # fmt: skip


# ----------------------------------------------------------------------------------------------- against TRL's own path
def trl_losses(model_folder, out, lora, **arguments):
    """Train with the unchanged DPOTrainer on conversational text and its own reference; return the losses it logs."""
    rows = [dict(zip(("prompt", "chosen", "rejected"), conversation(n), strict=True)) for n in range(N_TRAIN)]
    config = DPOConfig(
        output_dir=str(out), beta=0.1, learning_rate=1e-3, lr_scheduler_type="linear", warmup_steps=0, seed=3,
        per_device_train_batch_size=4, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
        gradient_checkpointing=False, num_train_epochs=1, data_seed=3, disable_tqdm=True, max_length=96, **arguments,
    )  # fmt: skip
    peft = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if lora else None
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model_folder),
        peft_config=peft,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [e["loss"] for e in logged], [e["rewards/margins"] for e in logged]


SETTINGS = {"ld_alpha": 0.3, "use_weighting": True, "f_divergence_type": "js_divergence"}


@pytest.mark.parametrize(
    ("lora", "optimizer", "settings"), [(LORA, "adamw_torch", {}), (FULL, "rmsprop", {}), (LORA, "rmsprop", SETTINGS)]
)
def test_losses_equal_those_of_trl_with_its_own_reference(
    artifacts, tiny_model_folder, tmp_path, lora, optimizer, settings
):
    facts = train(artifacts, tmp_path / "ours", recipe(lora=lora, optimizer=optimizer, **settings))
    losses, margins = trl_losses(tiny_model_folder, tmp_path / "trl", lora.r > 0, optim=optimizer, **settings)
    assert facts["steps"] == len(losses) == 3
    assert step_events(tmp_path / "ours") == pytest.approx(losses, abs=1e-5)
    assert step_events(tmp_path / "ours", "train/margin") == pytest.approx(margins, abs=1e-5)
    if not settings:
        assert losses[0] == pytest.approx(math.log(2), abs=1e-5), "before the first step, policy and reference are one"


# ----------------------------------------------------------------------------------------------------- what is computed
@pytest.mark.parametrize("loss_type", [["sigmoid"], ["sigmoid", "sft"]])
def test_micro_batches_do_not_change_a_step(artifacts, tmp_path, loss_type):
    """11 pairs in batches of 8: the second step has 3, which passes of 2 split unevenly."""
    whole = recipe(global_batch_size=8, loss_type=loss_type, evaluations=0)
    train(artifacts, tmp_path / "one", whole, machine(micro_batch_size=8))
    train(artifacts, tmp_path / "four", whole, machine(micro_batch_size=2))
    assert step_events(tmp_path / "four") == pytest.approx(step_events(tmp_path / "one"), abs=1e-5)
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "four")[name], tensor, atol=1e-5, rtol=0)


def sft_at_start(artifacts):
    """The mean negative log-prob of a chosen token over all training pairs."""
    rows = pl.read_parquet(artifacts["reference"] / files.REFERENCE).filter(use="train", completion=0)
    return -rows["ref_logp"].sum() / rows["completion_ids"].list.len().sum()


LN2 = math.log(2)
# Each loss by its formula where policy and reference agree, with beta 0.1, and label_smoothing 0.1 where it is read.
AT_START = {
    "sigmoid": LN2,
    "hinge": 1.0,
    "ipo": 25.0,
    "exo_pair": 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1),
    "nca_pair": 2 * LN2,
    "robust": LN2,
    "bco_pair": 2 * LN2,
    "sppo_hard": 50.0,
    "aot": LN2,
    "aot_unpaired": LN2,
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "discopop": 0.5 * LN2 + 0.5,
    "sigmoid_norm": LN2,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_starts_at_its_formula_and_trains_a_step(artifacts, tmp_path, loss):
    losses = ["sigmoid", "sft"] if loss == "sft" else [loss]
    expected = LN2 + 0.5 * sft_at_start(artifacts) if loss == "sft" else AT_START[loss]
    smoothing = 0.1 if loss in ("robust", "exo_pair", "aot", "aot_unpaired") else 0.0
    one_step = recipe(
        loss_type=losses, loss_weights=[1.0, 0.5][: len(losses)], label_smoothing=smoothing, global_batch_size=16,
        max_steps=1, evaluations=0,
    )  # fmt: skip
    facts = train(artifacts, tmp_path, one_step, machine(micro_batch_size=16))
    assert facts["steps"] == 1
    assert facts["train/loss"] == pytest.approx(expected, rel=1e-4)
    moved = [t.abs().sum().item() for name, t in weights(tmp_path).items() if "lora_B" in name]
    assert all(math.isfinite(m) for m in moved)
    assert sum(moved) > 0


def test_validation_metrics_are_means_over_pairs_not_over_passes(artifacts, tmp_path):
    """Three validation pairs in passes of 2: with the pass of one counted like the pass of two, these would differ."""
    train(artifacts, tmp_path / "one", recipe(), machine(micro_batch_size=4))
    train(artifacts, tmp_path / "two", recipe(), machine(micro_batch_size=2))
    for name in ("loss", "accuracy", "margin"):
        one, two = (step_events(tmp_path / run, f"validation/{name}") for run in ("one", "two"))
        assert len(one) == 1
        assert two == pytest.approx(one, abs=1e-5)


def test_facts_count_what_was_trained_and_what_was_left_out(artifacts, tmp_path):
    facts = train(artifacts, tmp_path, recipe(epochs=2.0))
    rows = pl.read_parquet(artifacts["reference"] / files.REFERENCE).filter(use="train")
    tokens = (rows["prompt_ids"].list.len() + rows["completion_ids"].list.len()).sum()
    assert facts["pairs_trained"] == N_TRAIN
    assert facts["pairs_without_reference"] == 1
    assert facts["validation_pairs"] == N_VALIDATION
    assert (facts["steps"], facts["epochs"]) == (6, 2.0)
    assert facts["tokens"] == 2 * tokens
    assert facts["trainable_parameters"] == 2 * (4 * 64 + 64 * 4 + 4 * 64 + 32 * 4), (
        "A and B of q_proj and v_proj, twice"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.jsonl", "followed.jsonl", "model"]


def test_a_set_smaller_than_a_batch_trains_a_step(artifacts, tmp_path):
    facts = train(artifacts, tmp_path, recipe(global_batch_size=64, evaluations=0))
    assert (facts["steps"], facts["pairs_trained"]) == (1, N_TRAIN)
    assert facts["train/loss"] == pytest.approx(LN2, abs=1e-5)


def test_adapter_dropout_is_really_applied(artifacts, tmp_path):
    losses = []
    for number, dropout in enumerate((0.0, 0.5)):
        train(artifacts, tmp_path / str(number), recipe(lora=replace(LORA, dropout=dropout), evaluations=0))
        losses.append(step_events(tmp_path / str(number)))
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-5), "B starts at zero: dropout cannot show yet"
    assert losses[0][2] != pytest.approx(losses[1][2], abs=1e-7)


def test_bfloat16_trains_full_weights_in_float32_and_keeps_them_in_bfloat16(artifacts, tmp_path, monkeypatch):
    trained = set()
    go_on = dpo.go_on

    def noting(trainer, *given):
        go_on(trainer, *given)
        trained.update(parameter.dtype for parameter in trainer.model.parameters())

    monkeypatch.setattr(dpo, "go_on", noting)
    facts = train(artifacts, tmp_path, recipe(lora=FULL, precision=Precision.bfloat16, max_steps=1))
    assert facts["train/loss"] == pytest.approx(LN2, abs=0.05)
    assert trained == {torch.float32}
    assert {t.dtype for t in weights(tmp_path).values()} == {torch.bfloat16}


# ----------------------------------------------------------------------------------------------------------- robustness
KILLED = """
import json, os, signal, sys
from pathlib import Path
from notus_exp.disk import events
from notus_exp.config.hardware_settings import Hardware
from notus_exp.stages.settings import PolicySettings, from_json
from notus_exp.stages.context import Context
from notus_exp.training import dpo, prepared

mark = prepared.mark_complete
def mark_and_die(*given):
    mark(*given)
    os.kill(os.getpid(), signal.SIGKILL)
prepared.mark_complete = mark_and_die

job = json.loads(Path(sys.argv[1]).read_text())
out = Path(job["out"])
writer = events.EventWriter("policy", out / "events.jsonl", None)
context = Context(events=writer, hardware=from_json(Hardware, job["hardware"]), cache=out)
dpo.run(from_json(PolicySettings, job["settings"]), {k: Path(v) for k, v in job["inputs"].items()}, out, context)
"""


def owner(out):
    return checkpoints.CheckpointOwner(out.name, {}, out / files.EVENTS)


def test_a_killed_training_resumes_to_the_same_bits(artifacts, tmp_path):
    long_recipe = recipe(lora=replace(LORA, dropout=0.1), epochs=2.0, checkpoints=3, evaluations=2, warmup=0.2)
    train(artifacts, tmp_path / "whole", long_recipe)
    out = tmp_path / "killed"
    out.mkdir()
    job = {
        "out": str(out), "hardware": to_json(machine()), "inputs": {k: str(v) for k, v in artifacts.items()},
        "settings": to_json(PolicySettings(dpo=long_recipe, seed=3, system_prompt=None)),
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "job.json")], env=environment, timeout=120, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert checkpoints.newest_complete(out / dpo.CHECKPOINTS, owner(out)).name == "checkpoint-2"
    half_written = out / dpo.CHECKPOINTS / "checkpoint-4"
    half_written.mkdir()
    (half_written / "trainer_state.json").write_text('{"global_')

    facts = train(artifacts, out, long_recipe)
    assert facts["steps"] == 6
    whole, resumed = (weights(tmp_path / name) for name in ("whole", "killed"))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    reported = [[(e.step, e.metrics) for e in events.read(tmp_path / n / files.EVENTS)] for n in ("whole", "killed")]
    assert reported[0] == reported[1]


def test_a_run_killed_after_its_last_step_only_finishes(artifacts, tmp_path, monkeypatch):
    whole = train(artifacts, tmp_path / "whole", recipe())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dpo, "write_card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        train(artifacts, tmp_path / "killed", recipe())
    (tmp_path / "killed" / files.MODEL / "left.safetensors").touch()
    finished = train(artifacts, tmp_path / "killed", recipe())
    differing = {key for key in whole if finished[key] != whole[key]}
    assert differing <= {"seconds", "peak_memory_bytes", "throughput"}
    assert not (tmp_path / "killed" / files.MODEL / "left.safetensors").exists()
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "killed")[name], tensor)


def test_what_a_killed_training_left_is_not_gone_on_from_where_it_is_not_its_own(artifacts, tmp_path, monkeypatch):
    short, foreign = (recipe(beta=beta, max_steps=2, evaluations=0) for beta in (0.1, 0.5))
    whole = train(artifacts, tmp_path / "whole", short)
    with monkeypatch.context() as patch:
        patch.setattr(dpo, "write_card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for name, asked in (("foreign", short), ("hurt", short), ("other", foreign)):
            with pytest.raises(KeyboardInterrupt):
                train(artifacts, tmp_path / name, asked)
    shutil.rmtree(tmp_path / "foreign" / dpo.CHECKPOINTS)
    shutil.copytree(tmp_path / "other" / dpo.CHECKPOINTS, tmp_path / "foreign" / dpo.CHECKPOINTS)
    kept = tmp_path / "hurt" / files.EVENTS
    kept.write_bytes(kept.read_bytes().replace(b"train/loss", b"train/lost", 1))
    expected = [(event.step, event.metrics) for event in events.read(tmp_path / "whole" / files.EVENTS)]
    for name, reason in (("foreign", "it is a checkpoint of other, not of foreign"), ("hurt", f"{kept} is not what")):
        finished = train(artifacts, tmp_path / name, short)
        assert finished["train/margin"] == whole["train/margin"]
        assert [(event.step, event.metrics) for event in events.read(tmp_path / name / files.EVENTS)] == expected
        assert reason in (tmp_path / name / "followed.jsonl").read_text()


def test_only_a_marked_checkpoint_counts(tmp_path):
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 4):
        checkpoints.mark_complete(tmp_path / f"checkpoint-{step}", owner(tmp_path))
    newest = checkpoints.newest_complete(tmp_path, owner(tmp_path))
    assert checkpoints.step_of(newest) == 4
    checkpoints.keep_only(tmp_path, newest)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-4"]
    assert checkpoints.newest_complete(tmp_path / "absent", owner(tmp_path)) is None


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_no_model(artifacts, tmp_path):
    with pytest.raises(UserError, match=r"(loss|gradient norm) of step \d is (nan|inf)") as caught:
        train(artifacts, tmp_path, recipe(lora=FULL, optimizer="sgd", learning_rate=1e30, max_grad_norm=1e9))
    assert "dpo.learning_rate" in caught.value.hint
    assert not (tmp_path / files.MODEL).exists()


def test_a_layer_that_the_model_has_not_is_named(artifacts, tmp_path):
    with pytest.raises(UserError, match="'q_prj'") as caught:
        train(artifacts, tmp_path, recipe(lora=replace(LORA, target_modules=["v_proj", "q_prj"])))
    assert "q_proj" in caught.value.hint


def test_pairs_without_any_reference_are_an_error(artifacts, tmp_path):
    empty = tmp_path / "reference-0"
    empty.mkdir()
    pl.read_parquet(artifacts["reference"] / files.REFERENCE).clear().write_parquet(empty / files.REFERENCE)
    with pytest.raises(UserError, match="none of the 12 training pairs"):
        train({**artifacts, "reference": empty}, tmp_path / "out", recipe())


def test_join_follows_the_pairs_order_and_refuses_a_completion_given_twice(artifacts):
    pairs = pl.read_parquet(artifacts["pairs"] / files.PAIRS).filter(split="train")
    reference = pl.read_parquet(artifacts["reference"] / files.REFERENCE)
    joined = joined_pairs.join_pairs(pairs, reference)
    assert joined.without_reference == 1
    first = reference.filter(row=0).sort("completion")
    assert joined.rows.row(0) == (
        first["prompt_ids"][0].to_list(), *(ids.to_list() for ids in first["completion_ids"]), *first["ref_logp"]
    )  # fmt: skip
    with pytest.raises(UserError, match="twice"):
        joined_pairs.join_pairs(pairs, pl.concat([reference, reference.head(1)]))


# ------------------------------------------------------------------------------------------- what the texts say, or not
@pytest.fixture
def spoilt(artifacts, tmp_path):
    """Of the training pairs, 0 and 1 with sides of the same tokens, and 2 with the end mark in a rejected text."""
    reference = pl.read_parquet(artifacts["reference"] / files.REFERENCE)
    chosen = reference.filter(completion=0).select("row", other="completion_ids")
    alike = (pl.col("row") < 2) & (pl.col("completion") == 1)
    reference = reference.join(chosen, on="row", maintain_order="left").with_columns(
        completion_ids=pl.when(alike).then("other").otherwise("completion_ids")
    )
    rows = pl.read_parquet(artifacts["pairs"] / files.PAIRS).to_dicts()
    rows[2]["rejected"][-1]["content"] += "<|im_end|>"
    inputs = {**artifacts, "pairs": tmp_path / "pairs-0", "reference": tmp_path / "reference-0"}
    inputs["pairs"].mkdir()
    inputs["reference"].mkdir()
    pl.DataFrame(rows).write_parquet(inputs["pairs"] / files.PAIRS)
    reference.drop("other").write_parquet(inputs["reference"] / files.REFERENCE)
    return inputs


def test_pairs_of_the_same_tokens_are_left_out_and_counted(spoilt, tmp_path):
    facts = train(spoilt, tmp_path / "out", recipe(evaluations=0, special_tokens=SpecialTokens.keep))
    assert (facts["pairs_same_tokens"], facts["pairs_trained"]) == (2, N_TRAIN - 2)
    assert facts["pairs_with_special_tokens"] == 1
    assert facts["pairs_without_reference"] == 1


def test_pairs_with_a_mark_of_the_models_own_are_dropped_kept_or_an_error(spoilt, tmp_path):
    facts = train(spoilt, tmp_path / "out", recipe(evaluations=0, max_steps=1))
    assert facts["pairs_with_special_tokens"] == 1
    assert facts["pairs_trained"] == 4
    assert facts["epochs"] == pytest.approx(1 / 2), "8 pairs are left, two batches of 4"
    with pytest.raises(UserError, match="1 pair holds a mark"):
        train(spoilt, tmp_path / "error", recipe(special_tokens=SpecialTokens.error))


def test_no_pair_left_is_an_error_that_says_why(spoilt, tmp_path):
    pairs = pl.read_parquet(spoilt["pairs"] / files.PAIRS).filter(pl.col("row") < 3)
    pairs.write_parquet(spoilt["pairs"] / files.PAIRS)
    with pytest.raises(UserError, match="none of 3 training pairs is left: 2 have two sides of the same tokens, and 1"):
        train(spoilt, tmp_path / "out", recipe())


def test_a_reused_reference_that_lost_too_many_ends_is_refused_before_training(spoilt, tmp_path):
    manifest = Manifest("reference", "0" * 64, {}, {}, {}, facts={"needed": 10, "completions_truncated": 6})
    (spoilt["reference"] / files.MANIFEST).write_text(json.dumps(manifest_file(manifest)))
    context = context_in(tmp_path / "out")
    context.requirements = Requirements(max_truncated=0.5)
    with pytest.raises(UserError, match=r"6 of 10 completions \(60%\) lose their end"):
        dpo.run(PolicySettings(recipe(), 3, None), spoilt, tmp_path / "out", context)
    assert not (tmp_path / "out" / files.MODEL).exists()


def test_a_model_cannot_be_trained_beyond_its_positions(artifacts, tmp_path):
    with pytest.raises(UserError, match=r"dpo\.max_length=4096 is more than the 2048"):
        train(artifacts, tmp_path, recipe(max_length=4096))


def test_all_linear_gives_each_layer_but_the_head_an_adapter(artifacts, tmp_path):
    facts = train(
        artifacts, tmp_path, recipe(max_steps=1, evaluations=0, lora=replace(LORA, target_modules=["all-linear"]))
    )
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in weights(tmp_path)}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert facts["steps"] == 1


def test_a_tie_counts_half_as_it_does_in_the_evaluation():
    chosen, rejected = torch.tensor([1.0, 0.5, 0.0, 2.0]), torch.tensor([0.5, 0.5, 1.0, 2.0])
    assert trainer.accuracy(chosen, rejected) == 0.5


def test_the_logged_accuracy_is_made_of_the_rewards_by_pair(artifacts, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(trainer, "accuracy", lambda *rewards: seen.append(rewards) or 0.125)
    train(artifacts, tmp_path, recipe(learning_rate=0.1, evaluations=0))
    for (chosen, rejected), number in zip(seen, (4, 4, 3), strict=True):
        assert chosen.shape == rejected.shape == (number,)
    for name, side in (("train/rewards_chosen", 0), ("train/rewards_rejected", 1)):
        assert step_events(tmp_path, name) == pytest.approx([rewards[side].mean().item() for rewards in seen], abs=1e-5)
    assert step_events(tmp_path, "train/accuracy") == [0.125] * 3


@pytest.mark.parametrize("micro", [16, 2])
def test_the_preference_part_of_a_summed_loss_is_logged_beside_the_sum(artifacts, tmp_path, micro):
    both = recipe(loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], global_batch_size=16, max_steps=1)
    facts = train(artifacts, tmp_path, both, machine(micro_batch_size=micro))
    [part] = step_events(tmp_path, "train/preference_loss")
    assert part == pytest.approx(LN2, abs=1e-4)
    assert facts["train/loss"] == pytest.approx(LN2 + 0.5 * sft_at_start(artifacts), rel=1e-4)
    [loss], [part] = (step_events(tmp_path, f"validation/{name}") for name in ("loss", "preference_loss"))
    assert 0 < part < loss


def test_of_a_single_loss_the_preference_part_is_the_loss(artifacts, tmp_path):
    train(artifacts, tmp_path, recipe())
    assert step_events(tmp_path, "train/preference_loss") == pytest.approx(step_events(tmp_path), abs=1e-5)


# ----------------------------------------------------------------------------------------------------------- model card
def test_the_card_lists_the_lineage_and_escapes_what_data_may_contain(artifacts, tmp_path):
    hostile = PolicySettings(dpo=recipe(), seed=3, system_prompt="<script>a | b\n`c`</script>")
    text = model_card.render_card(tmp_path, hostile, artifacts, {"steps": 6, "train/loss": 0.5})
    for folder in artifacts.values():
        assert folder.name in text
    assert "feedback-ffffffffffffffff" in text, "an input's own input"
    assert "| counts.dropped.ties | 5 |" in text
    assert "margins" not in text, "curation.html has those"
    assert "| dpo.beta | 0.1 |" in text
    assert "<script>" not in text
    assert "&lt;script&gt;a \\| b &#39;c&#39;&lt;/script&gt;" in text
    assert text.startswith('---\nbase_model: "base_model-0123456789abcdef"\n')


def test_the_card_names_the_method(artifacts, tmp_path):
    for changes, title in (
        ({}, "# A policy trained with DPO"),
        ({"loss_type": ["sft"]}, "# A policy trained with SFT on chosen responses"),
        ({"algorithm": "simpo", "loss_type": []}, "# A policy trained with SimPO"),
    ):
        text = model_card.render_card(tmp_path, PolicySettings(recipe(**changes), 3, None), artifacts, {})
        assert title in text.splitlines()


def test_a_trained_adapter_has_a_card_and_no_pickle_nor_local_path(artifacts, tmp_path):
    train(artifacts, tmp_path, recipe(max_steps=1))
    names = {p.name for p in (tmp_path / files.MODEL).iterdir()}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    config = json.loads((tmp_path / files.MODEL / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == artifacts["base_model"].name
    assert config["target_modules"] == sorted(config["target_modules"])
    card = (tmp_path / files.MODEL / "README.md").read_text()
    assert artifacts["reference"].name in card
    assert not [name for name in files.MEASURED if f"| {name} |" in card], "a repeated run has the same card"
