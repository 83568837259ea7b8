"""Published recipes start to end, with a random model of their shape: Notus' on two processes, Zephyr's whole."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support.pipelines import place, record, run
from support.small_models import mistral
from support.supervised import chat, write_chats

NOTUS = [
    "experiment=notus_7b_v1", "model=local", "model.path=model", 'model.system_prompt=""', "data=simulated",
    "data.prompts=120", "split.validation=0.1", "split.test=0.1", "evaluation.verifiable.prompts=8",
    "evaluation.verifiable.max_new_tokens=24", "evaluation.verifiable.kl_prompts=2", "tracking=none",
    "hardware=cpu", "output_dir=out",
]  # fmt: skip
"""The recipe's rule of curation and training; the world is simulated, and the answers are short."""
TWO = ["hardware.launch=fsdp2", "hardware.processes=2"]


def losses(policy: Path) -> list[float]:
    lines = (policy / "events.jsonl").read_text().splitlines()
    metrics = [json.loads(line).get("metrics", {}) for line in lines]
    return [told["train/loss"] for told in metrics if "train/loss" in told]


@pytest.mark.slow
def test_notus_full_recipe_runs_start_to_end_on_two_processes(tmp_path: Path) -> None:
    mistral(tmp_path / "model")
    two = record(run(tmp_path, *NOTUS, *TWO))
    assert {"feedback", "pairs", "reference", "policy", "generations_verifiable", "likelihoods", "evaluation"} <= set(
        two["stages"]
    )
    policy = tmp_path / place(two, "policy")
    curve = losses(policy)
    facts = json.loads((policy / "manifest.json").read_text())["facts"]
    assert len(curve) == facts["steps"] == 3 * math.ceil(facts["pairs_trained"] / 64)
    assert curve[0] == pytest.approx(math.log(2), abs=0.01)
    (weights,) = (policy / "model").glob("*.safetensors")
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}

    shutil.rmtree(policy)
    shutil.rmtree(tmp_path / "out" / "runs")
    one = record(run(tmp_path, *NOTUS, "until=policy"))
    assert one["stages"]["policy"]["key"] == two["stages"]["policy"]["key"]
    assert losses(tmp_path / place(one, "policy")) == pytest.approx(curve, abs=0.01), "to bfloat16's rounding"


FROM_SCRATCH = [
    "experiment=zephyr_7b_from_scratch", "model=local", "model.path=model", 'model.system_prompt=""',
    "sft.path=chats.jsonl", "data=simulated", "data.prompts=120", "split.validation=0.1", "split.test=0.1",
    "evaluation.verifiable.prompts=8", "evaluation.verifiable.max_new_tokens=24", "evaluation.verifiable.kl_prompts=2",
    "sft.validation=0.1", "tracking=none", "hardware=cpu", "output_dir=out",
]  # fmt: skip


@pytest.mark.slow
def test_zephyr_from_scratch_runs_start_to_end(tmp_path: Path) -> None:
    mistral(tmp_path / "model")
    write_chats(tmp_path / "chats.jsonl", [chat(number, turns=1 + number % 3) for number in range(150)])
    told = record(run(tmp_path, *FROM_SCRATCH))
    sft = told["stages"]["sft"]
    assert sft["facts"]["steps"] == math.ceil(sft["facts"]["conversations_trained"] / 128)
    for name in ("reference", "reference_scored", "policy", "generations_verifiable_base", "likelihoods"):
        assert told["stages"][name]["inputs"]["base_model"] == sft["key"], name
    (weights,) = (tmp_path / place(told, "sft") / "model").glob("*.safetensors")
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    assert losses(tmp_path / place(told, "policy"))[0] == pytest.approx(math.log(2), abs=0.01), "it begins at its base"
