"""Configs of other trainers: keys that they know, the run's recipe as values, and a refusal of what they cannot say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from notus_exp.errors import UserError
from notus_exp.exporting.handing_over import ExportRequest, export
from support import feedback_stage
from support.exported_runs import COMMIT, HUB_ID, RUN, made_run, read_lines
from support.study_folders import edit
from support.trainer_keys import (
    AXOLOTL,
    AXOLOTL_DATASET,
    LLAMA_FACTORY,
    LLAMA_FACTORY_COLUMNS,
    LLAMA_FACTORY_DATASET,
    LLAMA_FACTORY_TAGS,
)

BASE = f"hub:{HUB_ID}@{COMMIT}"
NOTUS = ("dpo=lora", "dpo.precision=float32", "hardware.micro_batch_size=2")
FORMS = ("axolotl", "llama_factory")


def exported(root: Path, form: str, *overrides: str) -> tuple[dict[str, Any], Sequence[str]]:
    """Return the trainer's config of a run with these overrides, and what was said."""
    made_run(root / "outputs", overrides=overrides or NOTUS)
    report = export(ExportRequest(RUN, root / "out", form, root / "outputs", base=BASE))
    content: dict[str, Any] = yaml.safe_load((root / f"out/{form}.yaml").read_text(encoding="utf-8"))
    return content, report.sentences


def test_axolotl_is_told_the_recipe_in_its_own_keys(tmp_path: Path) -> None:
    found, said = exported(tmp_path, "axolotl")
    assert set(found) <= AXOLOTL
    for entry in (*found["datasets"], *found["test_datasets"]):
        assert set(entry) <= AXOLOTL_DATASET
        assert (tmp_path / "out" / entry["path"]).is_file()
    assert (found["base_model"], found["revision_of_model"]) == (HUB_ID, COMMIT)
    assert (found["rl"], found["rl_beta"], found["sequence_len"]) == ("dpo", 0.1, 1024)
    assert (found["adapter"], found["lora_r"], found["lora_alpha"], found["lora_dropout"]) == ("lora", 64, 16, 0.1)
    assert found["lora_target_modules"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (found["micro_batch_size"], found["gradient_accumulation_steps"]) == (2, 32)
    assert (found["learning_rate"], found["lr_scheduler"]) == (5e-7, "linear")
    assert found["warmup_steps"] == 1  # a tenth of the three steps that 4 pairs make in 3 epochs
    assert (found["optimizer"], found["num_epochs"], found["seed"]) == ("rmsprop", 3.0, 3)
    assert (found["bf16"], found["fp16"]) == (False, False)
    assert found["eval_steps"] == found["save_steps"] == 1
    assert "the 1 test pairs are left out: no training may see them" in said
    assert any("the run cut prompts of more than 512 tokens" in one for one in said)


def test_llama_factory_is_told_the_recipe_in_its_own_keys(tmp_path: Path) -> None:
    found, said = exported(tmp_path, "llama_factory")
    assert set(found) <= LLAMA_FACTORY
    assert (found["model_name_or_path"], found["model_revision"]) == (HUB_ID, COMMIT)
    assert (found["stage"], found["finetuning_type"], found["pref_loss"]) == ("dpo", "lora", "sigmoid")
    assert (found["pref_beta"], found["cutoff_len"], found["learning_rate"]) == (0.1, 1024, 5e-7)
    assert (found["lora_rank"], found["lora_alpha"], found["lora_target"]) == (64, 16, "q_proj,k_proj,v_proj,o_proj")
    assert found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == 64
    listed = json.loads((tmp_path / "out/dataset_info.json").read_text())
    assert set(listed) == {found["dataset"], found["eval_dataset"]} == {"train", "validation"}
    for entry in listed.values():
        assert set(entry) <= LLAMA_FACTORY_DATASET
        assert (set(entry["columns"]) <= LLAMA_FACTORY_COLUMNS, set(entry["tags"]) <= LLAMA_FACTORY_TAGS) == (
            True,
            True,
        )
        row = read_lines(tmp_path / "out" / entry["file_name"])[0]
        assert set(row) == {entry["columns"][name] for name in ("messages", "chosen", "rejected")}
        assert (row["chosen"]["role"], row["messages"][-1]["role"]) == ("assistant", "user")
    assert any("an empty system turn is none to LLaMA-Factory" in one for one in said)
    assert any("has no key for float32" in one for one in said)


@pytest.mark.parametrize("form", FORMS)
def test_the_trainers_file_is_read_back_to_the_same_pairs(form: str, tmp_path: Path) -> None:
    exported(tmp_path, form)
    rows = read_lines(tmp_path / "out/data/train.jsonl")
    mapping = (
        "data.mapping={prompt: messages, completions: [{text: chosen, side: chosen}, {text: rejected, side: rejected}]}"
    )
    path = f"data.path={tmp_path}/out/data/train.jsonl"
    read = feedback_stage.made(tmp_path, "data=mapped", path, mapping, "data.repeated_prompts=keep").table
    assert read["response"].to_list() == [row[side]["content"] for row in rows for side in ("chosen", "rejected")]
    assert read["instruction"].gather_every(2).to_list() == [row["messages"][-1]["content"] for row in rows]
    assert read["prompt_id"].n_unique() == 4


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_all_layers_quantised_bases_and_steps_are_told(form: str, tmp_path: Path) -> None:
    full = ("dpo=full", "dpo.precision=float32", "dpo.max_steps=50", "dpo.warmup=7", "hardware.micro_batch_size=64")
    found, _ = exported(tmp_path / "full", form, *full)
    assert (found["max_steps"], found["warmup_steps"]) == (50, 7)
    assert (found["save_steps"], found["eval_steps"]) == (17, 17)
    assert not any(name.startswith("lora") for name in found)
    everything = ("dpo=lora", "dpo.precision=float32", "dpo.lora.target_modules=[all-linear]")
    found, _ = exported(tmp_path / "everything", form, *everything)
    told = found.get("lora_target_linear"), found.get("lora_target")
    assert told == ((True, None) if form == "axolotl" else (None, "all"))


def test_other_objectives_have_the_trainers_own_names(tmp_path: Path) -> None:
    simpo = ("dpo=simpo", "dpo.precision=float32")
    found, _ = exported(tmp_path / "a", "axolotl", *simpo)
    assert (found["rl"], found["rl_beta"], found["cpo_alpha"]) == ("simpo", 2.0, 0.0)
    assert found["simpo_gamma"] == pytest.approx(1.6)  # gamma_beta_ratio 0.8 of beta 2
    found, _ = exported(tmp_path / "b", "llama_factory", "dpo=orpo", "dpo.precision=float32")
    assert found["pref_loss"] == "orpo"
    rpo = ("dpo=lora", "dpo.precision=float32", "dpo.loss_type=[sigmoid,sft]", "dpo.loss_weights=[1.0,0.2]")
    found, _ = exported(tmp_path / "c", "axolotl", *rpo)
    assert (found["rl"], found["dpo_loss_type"], found["dpo_loss_weights"]) == ("dpo", ["sigmoid", "sft"], [1.0, 0.2])
    found, said = exported(tmp_path / "d", "llama_factory", *rpo)
    assert (found["pref_loss"], found["pref_ftx"]) == ("sigmoid", 0.2)
    assert any("weighs each chosen response alike" in one for one in said)


@pytest.mark.parametrize(
    ("form", "overrides", "said"),
    [
        ("axolotl", ("dpo=kto",), "dpo.algorithm=kto has no counterpart in axolotl here"),
        ("axolotl", ("dpo=orpo",), "dpo.algorithm=orpo has no counterpart in axolotl here"),
        (
            "llama_factory",
            ("dpo.loss_type=[sigmoid,ipo]",),
            r"dpo.loss_type=\[sigmoid, ipo\] has no counterpart",
        ),
        ("axolotl", ("dpo.ld_alpha=0.5",), "dpo.ld_alpha=0.5: axolotl has no key for it"),
        ("llama_factory", ("dpo.use_weighting=true",), "dpo.use_weighting=True: LLaMA-Factory has no key for it"),
        (
            "llama_factory",
            ("dpo.lora.r=4", "dpo.lora.alpha=2.5"),
            "dpo.lora.alpha=2.5: LLaMA-Factory takes whole",
        ),
        ("axolotl", ("pairs.weight=margin",), "pairs.weight=margin: other trainers give every pair one weight"),
    ],
)
def test_what_a_trainer_cannot_be_told_is_refused(
    form: str, overrides: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        exported(tmp_path, form, "dpo.precision=float32", *overrides)
    assert not (tmp_path / "out").exists()


def test_what_the_runs_own_training_left_out_is_told(tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", policy=tmp_path)
    report = export(ExportRequest(RUN, tmp_path / "out", "axolotl", tmp_path / "outputs"))
    assert "the run's own training left out 1 pair of the same tokens on both sides; they are among these" in (
        report.sentences
    )
    assert not (tmp_path / "out/model").exists()


def test_a_recipe_that_begins_with_a_supervised_training_has_no_base_on_the_hub(tmp_path: Path) -> None:
    made_run(tmp_path / "outputs")
    edit(tmp_path / "outputs/runs" / RUN / "run.json", lambda told: told["config"].update(sft={"name": "chosen"}))
    with pytest.raises(UserError, match=r"its base is what the run made itself \(stage sft\)"):
        export(ExportRequest(RUN, tmp_path / "out", "axolotl", tmp_path / "outputs"))
