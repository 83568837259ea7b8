"""What a training of all weights in 16 bits leaves is in 16 bits, whatever its masters were, and scores as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from notus_exp.config.training_settings import MasterWeights, Precision
from notus_exp.disk import files
from notus_exp.models.encoding import Encoded
from notus_exp.models.pretrained import load_model
from notus_exp.models.saved_weights import keep_in
from notus_exp.models.scorer import Scorer
from notus_exp.training import checkpoints
from support.recipes import LORA, machine, recipe
from support.trainings import train, weights

FULL = replace(LORA, r=0)
TEXT = Encoded([1, 2, 3], [4, 5, 6])


def dtypes_of(found: dict[str, torch.Tensor]) -> set[torch.dtype]:
    return {one.dtype for one in found.values()}


@pytest.mark.parametrize("masters", MasterWeights, ids=lambda one: one.name)
def test_a_policy_is_kept_in_its_working_precision(
    masters: MasterWeights, artifacts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[set[torch.dtype]] = []
    marked = checkpoints.mark_complete

    def look(checkpoint: Path, owner: Any) -> None:
        kept.append(dtypes_of(load_file(checkpoint / "model.safetensors")))
        marked(checkpoint, owner)

    monkeypatch.setattr("notus_exp.training.prepared.mark_complete", look)
    given = recipe(precision=Precision.bfloat16, lora=FULL, master_weights=masters, evaluations=0)
    train(artifacts, tmp_path, given)
    assert dtypes_of(weights(tmp_path)) == {torch.bfloat16}
    assert kept == [{torch.bfloat16 if masters is MasterWeights.same else torch.float32}]
    assert json.loads((tmp_path / files.MODEL / "config.json").read_text())["dtype"] == "bfloat16"


def test_in_float32_nothing_is_rounded(artifacts: Any, tmp_path: Path) -> None:
    train(artifacts, tmp_path, recipe(lora=FULL, evaluations=0))
    assert dtypes_of(weights(tmp_path)) == {torch.float32}


def test_rounding_moves_nothing_that_is_computed_in_that_precision(tiny_model_folder: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny_model_folder).save_pretrained(tmp_path / "a", max_shard_size="100KB")
    before = load_model(tmp_path / "a", None, "bfloat16", machine())
    logp = Scorer(before, "bfloat16", torch.device("cpu")).logps([TEXT], shared=False)
    size = sum(path.stat().st_size for path in (tmp_path / "a").glob("*.safetensors"))
    keep_in(tmp_path / "a", torch.bfloat16)
    assert sum(path.stat().st_size for path in (tmp_path / "a").glob("*.safetensors")) < 0.6 * size
    after = load_model(tmp_path / "a", None, "bfloat16", machine())
    assert Scorer(after, "bfloat16", torch.device("cpu")).logps([TEXT], shared=False) == logp
    index = tmp_path / "a" / "model.safetensors.index.json"
    parameters = sum(weight.numel() for weight in after.parameters())
    assert json.loads(index.read_text())["metadata"]["total_size"] == 2 * parameters
