"""How many tokens a model reads is known before it is opened, where its config.json is at hand."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from notus_exp.config.training_settings import Model
from notus_exp.errors import UserError
from notus_exp.models.positions import TINY_POSITIONS, told_positions
from notus_exp.run.pipeline import Run
from support.configs import composed


@pytest.fixture
def model() -> Model:
    return composed("experiment=smoke").model


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"max_position_embeddings": 128}, 128),
        ({"n_positions": 64}, 64),
        ({"text_config": {"max_position_embeddings": 32}, "max_position_embeddings": 1}, 32),
        ({"text_config": None, "max_position_embeddings": 16}, 16),
        ({}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": "many"}, None),
        ([], None),
    ],
)
def test_a_folders_config_tells_it(tmp_path: Path, model: Model, config: Any, told: int | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert told_positions(replace(model, kind="local"), "digest", [str(tmp_path)]) == told


def test_what_is_not_at_hand_tells_nothing(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_positions(model, None, []) == TINY_POSITIONS
    assert told_positions(replace(model, kind="local"), "digest", [str(tmp_path)]) is None
    (tmp_path / "config.json").write_text("{")
    assert told_positions(replace(model, kind="local"), "digest", [str(tmp_path)]) is None
    hub = replace(model, kind="hub", hub_id="nobody/nothing")
    assert told_positions(hub, "0" * 40, []) is None
    assert told_positions(hub, None, []) is None
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 8}')
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: str(tmp_path / "config.json"))
    assert told_positions(hub, "0" * 40, []) == 8


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["evaluation.verifiable.max_new_tokens=2048"], "evaluation.verifiable.max_new_tokens=2048 leaves no token"),
        (["dpo.max_length=4096", "dpo.max_prompt_length=null"], "dpo.max_length=4096 is more than the 2048"),
    ],
)
@pytest.mark.parametrize("until", ["config", "evaluation"])
def test_a_plan_refuses_what_its_model_cannot_read(tmp_path: Path, overrides: list[str], said: str, until: str) -> None:
    asked = ["experiment=smoke", f"output_dir={tmp_path / 'out'}", *overrides]
    with pytest.raises(UserError, match=said):
        Run(composed(*asked, f"until={until}"), {}, Console(file=StringIO()))
    assert not (tmp_path / "out").exists()
    Run(composed(*asked, "until=pairs"), {"selection": "any"}, Console(file=StringIO()))
