"""What the files of a local reward model tell before it is loaded. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from notus_exp.config.judge_settings import RewardModelJudge
from notus_exp.errors import UserError, first_line

LABELS = 2
"""Outputs of a sequence-classification model whose config names none, as transformers has it."""


def check_reward_files(judge: RewardModelJudge) -> None:
    """Check that a folder can be a reward model; one of the hub is checked when it is loaded.

    Raises:
        UserError: It has no chat template, or several and no default, or another number of outputs than one.
    """
    folder = Path(judge.model).expanduser()
    if not folder.is_dir():
        return
    named = f"judge.model={judge.model}"
    config = _read(folder / "config.json", named)
    outputs = len(config["id2label"]) if isinstance(config.get("id2label"), dict) else config.get("num_labels", LABELS)
    if outputs != 1:
        raise UserError(f"{named} has {outputs} outputs", "a reward model has one")
    tokenizer = folder / "tokenizer_config.json"
    inside = _read(tokenizer, named).get("chat_template") if tokenizer.is_file() else None
    if not inside and not (folder / "chat_template.jinja").is_file() and not (folder / "chat_template.json").is_file():
        raise UserError(f"{named} has no chat template", "add chat_template.jinja to the model's folder")
    if isinstance(inside, list) and not (folder / "chat_template.jinja").is_file():  # which transformers reads instead
        names = [str(one.get("name")) for one in inside if isinstance(one, dict)]
        if "default" not in names:
            raise UserError(
                f"{named} has several chat templates ({', '.join(names)}), none of them 'default'",
                "make one of them the only chat_template.jinja in the model's folder",
            )


def _read(path: Path, named: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{named} cannot be loaded: {path.name}: {first_line(error)}", "give a whole model") from error
    if not isinstance(content, dict):
        raise UserError(f"{named} cannot be loaded: {path.name} is no object", "give a whole model")
    return content
