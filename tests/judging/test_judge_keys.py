"""What a judge is enters the keys of its verdicts by content: weights and templates, wherever they lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from support.configs import composed

WORDS = "{{ instruction }} {{ first }} {{ second }}"


def key(folder: Path, *judge: str) -> str:
    prompts = folder / "alpaca.json"
    prompts.write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    chosen = ["experiment=smoke", "evaluation=[alpaca_eval]", f"evaluation.alpaca_eval.prompts={prompts}"]
    config = composed(*chosen, *judge)
    return next(node.key for node in make_plan(config, resolve(config)) if node.name == "judgments_alpaca_eval")


def reward_model(folder: Path, weights: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_other_weights_in_the_same_folder_are_another_judge_and_a_copy_is_the_same(tmp_path: Path) -> None:
    model = reward_model(tmp_path / "model", b"one")
    first = key(tmp_path, "judge=reward_model", f"judge.model={model}")
    copy = shutil.copytree(model, tmp_path / "copy")
    assert key(tmp_path, "judge=reward_model", f"judge.model={copy}") == first
    reward_model(model, b"two")
    assert key(tmp_path, "judge=reward_model", f"judge.model={model}") != first


def test_a_template_below_the_home_folder_is_found_and_counts_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.j2").write_text(WORDS)
    first = key(tmp_path, "judge=mock", 'judge.template="~/own.j2"')
    assert key(tmp_path, "judge=mock", f"judge.template={tmp_path / 'own.j2'}") == first
    (tmp_path / "own.j2").write_text(WORDS + "!")
    assert key(tmp_path, "judge=mock", 'judge.template="~/own.j2"') != first
