"""A local reward model: a sequence-classification model with one output scores each conversation by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.special import expit
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from notus_exp.chat.messages import Messages
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.judge_settings import RewardModelJudge
from notus_exp.errors import UserError, first_line
from notus_exp.judging.verdicts import AnswerPair, Grading, OnProgress, Verdict
from notus_exp.models.capabilities import check_date
from notus_exp.models.pretrained import pick_device
from notus_exp.models.rendering import render


class Reward(NamedTuple):
    """A reward, or None with the reason; and the tokens of the conversation."""

    value: float | None
    reason: str
    tokens: int


class _Loaded(NamedTuple):
    model: Any
    tokenizer: Any
    device: torch.device
    snapshot: str


def prefer(
    pairs: Sequence[AnswerPair], judge: RewardModelJudge, hardware: Hardware | None, on_progress: OnProgress | None
) -> list[Verdict]:
    """Return one verdict a pair, without an order.

        preference = 1 + sigmoid(r(model) - r(reference))

    which is 1 + the probability that the model's answer wins under Bradley and Terry (1952, Biometrika 39), the model
    that rewards are trained with. `raw` holds both scores as JSON.

    Args:
        pairs: What is judged; an answer that occurs several times is scored once.
        judge: model (a folder or hub id), revision, max_length.
        hardware: Device and batch size; None for the CPU and one conversation at a time.
        on_progress: Told (conversations scored, of how many).

    Raises:
        UserError: The model cannot be loaded, or is no reward model.
    """
    chats = [_chat(pair.instruction, answer) for pair in pairs for answer in (pair.reference, pair.model)]
    loaded = _load(judge, hardware)
    scores = _score_all(chats, loaded, judge, hardware, on_progress)
    return [
        _preference(pair.prompt_id, reference, model, loaded.snapshot)
        for pair, reference, model in zip(pairs, scores[::2], scores[1::2], strict=True)
    ]


def grade(
    gradings: Sequence[Grading], judge: RewardModelJudge, hardware: Hardware | None, on_progress: OnProgress | None
) -> list[Verdict]:
    """Return the score of each conversation up to the rated turn, on the reward model's own scale; see `prefer`."""
    chats = [_chat(*(text for turn in zip(g.questions, g.answers, strict=True) for text in turn)) for g in gradings]
    loaded = _load(judge, hardware)
    scores = _score_all(chats, loaded, judge, hardware, on_progress)
    return [
        Verdict(g.prompt_id, g.turn, "", s.value, s.reason, json.dumps(s.value), loaded.snapshot, s.tokens, 0, None)
        for g, s in zip(gradings, scores, strict=True)
    ]


def _preference(prompt: str, reference: Reward, model: Reward, snapshot: str) -> Verdict:
    raw = json.dumps({"model": model.value, "reference": reference.value})
    tokens = reference.tokens + model.tokens
    if model.value is None or reference.value is None:
        reasons = [f"{name}: {s.reason}" for name, s in (("reference", reference), ("model", model)) if s.reason]
        return Verdict(prompt, 1, "", None, "; ".join(reasons), raw, snapshot, tokens, 0, None)
    value = 1 + float(expit(model.value - reference.value))
    return Verdict(prompt, 1, "", value, "", raw, snapshot, tokens, 0, None)


def _chat(*texts: str) -> Messages:
    """Return a conversation of user and assistant turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def _load(judge: RewardModelJudge, hardware: Hardware | None) -> _Loaded:
    place = judge.model if not Path(judge.model).is_dir() else str(Path(judge.model))
    options = {"revision": judge.revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        # "auto" is the precision of the checkpoint: the same on every device.
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            place, use_safetensors=True, dtype="auto", output_loading_info=True, **options
        )
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"judge.model={judge.model} cannot be loaded: {first_line(error)}",
            "give a folder or hub id with safetensors weights and a tokenizer, and judge.revision",
        ) from error
    if loading["missing_keys"]:  # they would be drawn at random, and the scores with them
        raise UserError(
            f"judge.model={judge.model} is no reward model: it lacks the weights {', '.join(loading['missing_keys'])}",
            "give a sequence-classification model",
        )
    if model.config.num_labels != 1:
        raise UserError(f"judge.model={judge.model} has {model.config.num_labels} outputs", "a reward model has one")
    if not tokenizer.chat_template:
        raise UserError(
            f"judge.model={judge.model} has no chat template", "add chat_template.jinja to the model's folder"
        )
    check_date(tokenizer, judge.template_date, "judge")
    device = pick_device(hardware) if hardware else torch.device("cpu")
    commit = getattr(model.config, "_commit_hash", None)
    return _Loaded(model.to(device).eval(), tokenizer, device, f"{judge.model}@{commit}" if commit else judge.model)


def _score_all(
    chats: Sequence[Messages],
    loaded: _Loaded,
    judge: RewardModelJudge,
    hardware: Hardware | None,
    on_progress: OnProgress | None,
) -> list[Reward]:
    """Return the score of each conversation; equal ones are scored once, and like lengths together."""
    encoded = [tuple(_token_ids(chat, loaded.tokenizer, judge.template_date)) for chat in chats]
    scores: dict[tuple[int, ...], Reward] = {}
    for ids in set(encoded):
        if len(ids) > judge.max_length:
            scores[ids] = Reward(None, f"{len(ids)} tokens, and judge.max_length={judge.max_length}", len(ids))
    waiting = sorted(set(encoded) - set(scores), key=lambda ids: (len(ids), ids))
    # Where the end of a padded row cannot be told, rows go one by one.
    size = hardware.scoring_batch_size if hardware and loaded.model.config.pad_token_id is not None else 1
    for start in range(0, len(waiting), size):
        batch = waiting[start : start + size]
        for ids, value in zip(batch, _rewards(batch, loaded), strict=True):
            finite = math.isfinite(value)
            scores[ids] = Reward(value if finite else None, "" if finite else "the score is not finite", len(ids))
        if on_progress:
            on_progress(min(start + size, len(waiting)), len(waiting))
    return [scores[ids] for ids in encoded]


def _token_ids(chat: Messages, tokenizer: Any, date: str | None) -> list[int]:
    # As text first, so that the template alone decides on special tokens.
    text = render(tokenizer, chat, add_generation_prompt=False, date=date, whose="judge")
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@torch.inference_mode()
def _rewards(batch: Sequence[Sequence[int]], loaded: _Loaded) -> list[float]:
    """Return the outputs of one forward pass, shape (batch,), padded at the right, where attention sees none of it."""
    width = max(map(len, batch))
    pad = loaded.model.config.pad_token_id or 0
    input_ids = torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in batch], device=loaded.device)
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in batch], device=loaded.device)
    rewards: list[float] = loaded.model(input_ids=input_ids, attention_mask=mask).logits[:, 0].double().tolist()
    return rewards
