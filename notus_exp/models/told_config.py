"""A base model's config.json before the model is opened, wherever it is at hand: no torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from notus_exp.config.training_settings import Model

TINY: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 267,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
"""Of `model=tiny_random`, which `pretrained.tiny_random` writes."""


def told_config(
    model: Model, commit: str | None, files: Sequence[str], *, fetch: bool = False
) -> dict[str, Any] | None:
    """Return what a base model's config.json holds; None where nothing that is at hand tells, as of one not yet loaded.

    Of a model that reads pictures too, the text model's part comes first.

    Args:
        model: The base model.
        commit: Of one of the hub, whose config.json may lie in this machine's cache.
        files: What the model's digest stands for: of a local one its folder.
        fetch: Whether the file may be fetched from the hub, a thousand bytes or so, where it is not in the cache.
    """
    if model.kind == "tiny_random":
        return TINY
    if model.kind == "local":
        return _read(Path(files[0]) / "config.json")
    if model.kind == "hub" and model.hub_id and commit:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache  # only where a hub's model is used

        path = try_to_load_from_cache(model.hub_id, "config.json", revision=commit)
        if not isinstance(path, str) and fetch:
            with suppress(OSError, ValueError):
                path = hf_hub_download(model.hub_id, "config.json", revision=commit, etag_timeout=5)
        return _read(Path(path)) if isinstance(path, str) else None
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a config.json holds, or None; that it is broken is said where the model is opened."""
    config: Any = None
    with suppress(OSError, ValueError, RecursionError):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        return None
    own = config.get("text_config")
    return config | own if isinstance(own, dict) else config
