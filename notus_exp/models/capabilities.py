"""What a model's own files tell about what it cannot do, checked when it is first opened: nothing is computed before.

No weights are read: layers are those of a model without memory ("meta"), made from config.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from notus_exp.config.dpo_checks import ALL_LINEAR
from notus_exp.errors import UserError, did_you_mean, first_line
from notus_exp.models import bounded_rendering, rendering
from notus_exp.models.encoding import shows_system_turn
from notus_exp.models.markup import CONVERSATION
from notus_exp.models.model_files import MODEL_FILES
from notus_exp.models.positions import check_positions
from notus_exp.models.pretrained import load_tokenizer
from notus_exp.stages.context import Requirements

LINEAR = (torch.nn.Linear, Conv1D)
"""Layers that can have an adapter; the second is what GPT-2's are."""
WITH_SYSTEM: tuple[rendering.Message, ...] = ({"role": "system", "content": "a system turn"}, *CONVERSATION)
"""The plain conversation after a system turn."""
ANY_DAY = "2024-12-31"
"""A date for templates that ask for one, where no text is made of them that anybody reads."""


def open_model(folder: Path) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    """Return a model's tokenizer, and the model without memory, after checking that they fit each other.

    They are opened once in a process, while their files are the same.

    Raises:
        UserError: They cannot be loaded; the tokenizer has tokens that the model has not; or its chat template takes
            too long, is too long, or writes another text each time.
    """
    stats = ((path.name, path.stat()) for pattern in MODEL_FILES for path in folder.glob(pattern))
    return _open(folder, frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


@lru_cache(maxsize=4)
def _open(folder: Path, files: frozenset[tuple[str, int, int, int]]) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    tokenizer = load_tokenizer(folder)
    written = _steady(tokenizer)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        _check_vocabulary(tokenizer, config.get_text_config().vocab_size, written)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"model: not a causal language model that transformers knows: {first_line(error)}",
            "models that bring their own code are not loaded; choose one of a built-in architecture",
        ) from error
    return tokenizer, model


def check_fit(
    folder: Path, requirements: Requirements, max_length: int, system_prompt: str | None, date: str | None
) -> None:
    """Refuse settings that the model of a folder cannot meet.

    Args:
        folder: With config.json, tokenizer and chat template.
        requirements: Layers that are to have adapters, tokens that are to be written.
        max_length: Tokens of a prompt with its completion.
        system_prompt: Text of the config's system turn, or None.
        date: What the template is told when it asks for today's.

    Raises:
        UserError: As `open_model`; the model reads fewer tokens, or has no such layers; or its template asks for a date
            that is not given, or for none where one is given, or hides or refuses the config's system turn.
    """
    tokenizer, model = open_model(folder)
    check_positions(model_length(folder), requirements, max_length)
    check_targets(model, requirements.target_modules)
    check_date(tokenizer, date)
    if system_prompt is not None and not shows_system_turn(tokenizer, [*CONVERSATION[:1]], system_prompt, date):
        raise UserError(
            f"model.system_prompt={system_prompt!r}: the chat template does not show a system turn",
            "set model.system_prompt=null, or choose a model whose template has one",
        )


def model_length(folder: Path) -> int | None:
    """Return how many tokens a model reads, or None where its config.json does not say so."""
    limit: int | None = getattr(open_model(folder)[1].config.get_text_config(), "max_position_embeddings", None)
    return limit


def check_date(tokenizer: PreTrainedTokenizerFast, date: str | None, whose: str = "model") -> None:
    """Refuse a template that asks for a date that is not given, and a date that no template asks for.

    Args:
        tokenizer: Has the template.
        date: What the template is told when it asks for today's, or None.
        whose: Group of the config that the model belongs to, for messages.

    Raises:
        UserError: Either.
    """
    if date is None:
        rendering.render(tokenizer, CONVERSATION, add_generation_prompt=False, date=None, whose=whose)
    elif not any(
        rendering.asks_date(tokenizer, turns, add_generation_prompt=turns[-1]["role"] == "user", whose=whose)
        for turns in (CONVERSATION, CONVERSATION[:1], WITH_SYSTEM, WITH_SYSTEM[:2])
    ):
        raise UserError(
            f"{whose}.template_date={date}: the chat template asks for no date, so that this changes nothing",
            f"leave it out: {whose}.template_date=null",
        )


def check_targets(model: PreTrainedModel, targets: list[str]) -> None:
    """Refuse names of layers that the model has not: PEFT ignores all but the last such name.

    Raises:
        UserError: Naming the layer and the nearest one.
    """
    layers = {name for name, module in model.named_modules() if isinstance(module, LINEAR)}
    for target in targets:
        if target != ALL_LINEAR and not any(name == target or name.endswith(f".{target}") for name in layers):
            raise UserError(
                f"dpo.lora.target_modules has {target!r}, which the model has not",
                did_you_mean(target, {name.rpartition(".")[2] for name in layers} - {"lm_head"}),
            )


def _steady(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return what the template writes around a conversation; refuse one that writes it in two ways.

    With a system turn too, where the template takes one, and with a generation prompt: either may bring in what varies.
    """
    once = _renderings(tokenizer)
    bounded_rendering.forget()  # the second in another process, where addresses and hashes are others
    if once != _renderings(tokenizer):
        raise UserError("model: the chat template writes the same conversation in two ways", rendering.REMEDY)
    return once[0]


def _renderings(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return a conversation and its prompt as the template writes them, without and with a system turn."""
    texts = [_rendering(tokenizer, CONVERSATION), _rendering(tokenizer, CONVERSATION[:1])]
    with suppress(UserError):  # a template that refuses a system turn, which is no fault until there is one
        texts += [_rendering(tokenizer, turns) for turns in (WITH_SYSTEM, WITH_SYSTEM[:2])]
    return texts


def _rendering(tokenizer: PreTrainedTokenizerFast, turns: Sequence[rendering.Message]) -> str:
    asks = turns[-1]["role"] == "user"
    return rendering.render(tokenizer, turns, add_generation_prompt=asks, date=ANY_DAY)


def _check_vocabulary(tokenizer: PreTrainedTokenizerFast, size: int, written: str) -> None:
    """Refuse tokens that the model has no embedding for; special ones that nothing writes are let be."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    used = {*tokenizer(written, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id, tokenizer.pad_token_id}
    beyond = sorted(
        (number, token)
        for token, number in tokenizer.get_vocab().items()
        if number >= size and (number in used or number not in added)
    )
    if beyond:
        number, token = beyond[0]
        raise UserError(
            f"model: the tokenizer has tokens, such as {token!r} ({number}), beyond the {size} that the model embeds",
            "give the tokenizer that the model was trained with, or a model whose embeddings were resized for it",
        )
