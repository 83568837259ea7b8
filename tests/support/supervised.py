"""Supervised trainings on a tiny random model: recipes, conversations, and running the stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from notus_exp.config.sft_settings import ChatSft, ChosenSft, SftTraining
from notus_exp.config.training_settings import Lora, MasterWeights, Precision, SpecialTokens
from notus_exp.stages.settings import SftSettings, keyed
from notus_exp.training import sft
from support.trainings import SUBJECTS, context_in

ADAPTER = Lora(r=4, alpha=8, dropout=0.0, target_modules=["q_proj", "v_proj"])
ALL_WEIGHTS = Lora(r=0, alpha=8, dropout=0.0, target_modules=[])
_COMMON: dict[str, Any] = {
    "seed": 3, "learning_rate": 1e-3, "lr_scheduler": "linear", "warmup": 0.0, "optimizer": "adamw_torch",
    "weight_decay": 0.0, "max_grad_norm": 1.0, "epochs": 1.0, "max_steps": None, "global_batch_size": 4,
    "batching": "random", "precision": Precision.float32, "master_weights": MasterWeights.float32, "max_length": 256,
    "special_tokens": SpecialTokens.drop, "max_truncated": 1.0, "evaluations": 1, "max_validation": None,
    "checkpoints": 1, "lora": ALL_WEIGHTS,
}  # fmt: skip
_CHATS: dict[str, Any] = {
    "path": "chats.jsonl", "hub_id": None, "hub_split": None, "revision": "main", "messages": "messages", "roles": {},
    "role_key": None, "content_key": None, "max_bad_rows": 0, "max_conversations": None, "validation": 0.0,
    "expected_conversations": None,
}  # fmt: skip

MARKED = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The tiny model's template, with the marks that TRL reads what is learnt by."""


def chosen_recipe(**changes: Any) -> ChosenSft:
    return ChosenSft(**{"name": "chosen", **_COMMON, **changes})


def chat_recipe(**changes: Any) -> ChatSft:
    return ChatSft(**{"name": "chat", **_COMMON, **_CHATS, **changes})


def chat(number: int, turns: int = 2) -> list[dict[str, str]]:
    """A conversation of so many questions, each with an answer."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    found = []
    for turn in range(turns):
        found += [
            {"role": "user", "content": f"Say {turn} of {subject}, {number}."},
            {"role": "assistant", "content": f"{subject}" + " yes" * (1 + (number + turn) % 3)},
        ]
    return found


def write_chats(path: Path, conversations: list[list[dict[str, str]]]) -> Path:
    path.write_text("".join(f"{json.dumps({'messages': turns})}\n" for turns in conversations), encoding="utf-8")
    return path


def finetune(
    inputs: dict[str, Path],
    out: Path,
    recipe: SftTraining,
    hardware: Any = None,
    chats: Path | None = None,
    team: Any = None,
    system_prompt: str | None = None,
    max_truncated: float = 1.0,
) -> dict[str, Any]:
    """Run the stage and return its facts."""
    context = context_in(out, hardware, team)
    context.requirements.sft_max_truncated = max_truncated
    if chats is not None:
        context.sources = {"sft": [str(chats)]}
    used = {name: inputs[name] for name in (("base_model",) if chats is not None else ("base_model", "pairs"))}
    settings = SftSettings(keyed(recipe), system_prompt, "digest" if chats is not None else None, None)
    return sft.run(settings, used, out, context)


def finetune_all(team: Any, inputs: dict[str, Path], chats: Path, wanted: list[Any]) -> list[dict[str, Any]]:
    """Run the stage several times, (out, recipe, machine) each, in the processes of a team; return facts."""
    return [finetune(inputs, out, recipe, hardware, chats, team) for out, recipe, hardware in wanted]
