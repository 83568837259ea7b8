"""Notus' own full recipe, start to end on two processes, with a random model of its shape."""

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
