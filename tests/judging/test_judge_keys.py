"""What a judge is enters the keys of its verdicts by content: weights and templates, wherever they lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from support.configs import composed

WORDS = "{{ instruction }} {{ first }} {{ second }}"


def judgments(folder: Path, *judge: str) -> Node:
    prompts = folder / "alpaca.json"
    prompts.write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    chosen = ["experiment=smoke", "evaluation=[alpaca_eval]", f"evaluation.alpaca_eval.prompts={prompts}"]
    config = composed(*chosen, *judge)
    return next(node for node in make_plan(config, resolve(config)) if node.name == "judgments_alpaca_eval")


def key(folder: Path, *judge: str) -> str:
    return judgments(folder, *judge).key


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


BEFORE = {
    "model": "", "snapshot": None, "parser": "ranking", "both_orders": False, "temperature": 0.0, "max_tokens": 1024,
    "seed": None, "top_logprobs": 5, "revision": "main", "max_length": 4096,
}  # fmt: skip
"""What the key of every judge held when each had the settings of all; a digest stood for a reward model's weights."""


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        (["judge=mock", "judge.seed=3"], BEFORE | {"model": "mock", "both_orders": True, "seed": 3}),
        (["judge=openai", "judge.model=m", "judge.top_logprobs=7", "judge.base_url=http://x", "judge.timeout=1"],
         BEFORE | {"model": "m", "both_orders": True, "top_logprobs": 7}),
        (["judge=replay", "judge.path=stored.json", "judge.max_failure_rate=1"], BEFORE),
        (["judge=reward_model", "judge.model=weights", "judge.max_length=9"],
         {name: value for name, value in BEFORE.items() if name not in ("model", "revision")} | {"max_length": 9}),
    ],
    ids=["mock", "openai", "replay", "reward_model"],
)  # fmt: skip
def test_verdicts_from_before_each_judge_had_settings_of_its_own_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: list[str], expected: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stored.json").write_text("[]")
    reward_model(tmp_path / "weights", b"one")
    name = judge[0].removeprefix("judge=")
    assert judgments(tmp_path, *judge).settings["judge"] == {"name": name, **expected}


def test_a_template_below_the_home_folder_is_found_and_counts_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.j2").write_text(WORDS)
    first = key(tmp_path, "judge=mock", 'judge.template="~/own.j2"')
    assert key(tmp_path, "judge=mock", f"judge.template={tmp_path / 'own.j2'}") == first
    (tmp_path / "own.j2").write_text(WORDS + "!")
    assert key(tmp_path, "judge=mock", 'judge.template="~/own.j2"') != first
