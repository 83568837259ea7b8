"""How many tokens a model reads, as its files tell before it is opened, and what a run may ask of it: no torch here."""

from __future__ import annotations

from collections.abc import Sequence

from notus_exp.config.training_settings import Model
from notus_exp.errors import UserError
from notus_exp.models.told_config import TINY, told_config
from notus_exp.stages.context import Requirements

TINY_POSITIONS: int = TINY["max_position_embeddings"]
"""Tokens that `model=tiny_random` reads."""

_NAMES = ("max_position_embeddings", "n_positions")
"""Keys of config.json that tell it; the second is GPT-2's."""


def told_positions(model: Model, commit: str | None, files: Sequence[str]) -> int | None:
    """Return how many tokens a base model reads; None where nothing that is at hand tells, as of one not yet loaded.

    Args:
        model: The base model.
        commit: Of one of the hub, whose config.json may lie in this machine's cache.
        files: What the model's digest stands for: of a local one its folder.
    """
    config = told_config(model, commit, files) or {}
    told = next((config[name] for name in _NAMES if name in config), None)
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None


def check_positions(limit: int | None, requirements: Requirements, max_length: int) -> None:
    """Refuse more tokens than a model reads.

    Args:
        limit: Tokens that it reads; None where that is not known.
        requirements: Tokens that are to be written.
        max_length: Tokens of a prompt with its completion.

    Raises:
        UserError: `max_length` is more, or what is to be written leaves no token for a prompt.
    """
    if limit is None:
        return
    if max_length > limit:
        raise UserError(
            f"dpo.max_length={max_length} is more than the {limit} tokens that the model reads",
            f"use dpo.max_length={limit} or less",
        )
    for key, tokens in requirements.new_tokens.items():
        if tokens >= limit:
            raise UserError(
                f"{key}={tokens} leaves no token of the {limit} that the model reads for a prompt",
                f"use fewer than {limit}",
            )
