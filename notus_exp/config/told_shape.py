"""`model.shape`: the sizes of a model of which config.json is not at hand, checked before a plan is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.errors import UserError, did_you_mean

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Values of `model_type` whose blocks are known here: RMSNorm, rotary attention with grouped keys, a gated MLP."""
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
"""What every model's config.json says of its size."""
OTHER_SIZES = ("num_key_value_heads", "head_dim", "max_position_embeddings", "sliding_window")
FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias")
_KNOWN = ("model_type", *SIZES, *OTHER_SIZES, *FLAGS)


def check_shape(told: Mapping[str, Any] | None) -> None:
    """Check what a config says of its model's size.

    Raises:
        UserError: Naming the key, its value and the remedy.
    """
    if not told:
        return
    for name in told:
        if name not in _KNOWN:
            raise UserError(f"model.shape has no '{name}'", did_you_mean(name, _KNOWN))
    if told.get("model_type") not in FAMILIES:
        raise UserError(
            f"model.shape.model_type={told.get('model_type')}: how such a model is built is not known here",
            f"one of {', '.join(FAMILIES)}; or leave model.shape out, and no memory is planned",
        )
    for name in SIZES:
        if name not in told:
            raise UserError(f"model.shape lacks {name}", "copy it from the model's config.json")
    for name in (*SIZES, *OTHER_SIZES):
        value = told.get(name)
        if (value is not None or name in SIZES) and not is_size(value):
            raise UserError(f"model.shape.{name}={value} is no whole number above 0", "copy it from config.json")
    for name in FLAGS:
        if not isinstance(told.get(name, False), bool):
            raise UserError(f"model.shape.{name}={told[name]} is neither true nor false", "copy it from config.json")
    heads, keys = told["num_attention_heads"], told.get("num_key_value_heads") or told["num_attention_heads"]
    if heads % keys:
        raise UserError(
            f"model.shape.num_attention_heads={heads} does not divide by num_key_value_heads={keys}",
            "as many queries go with each key: copy both from config.json",
        )
    if told.get("head_dim") is None and told["hidden_size"] % heads:
        raise UserError(
            f"model.shape.hidden_size={told['hidden_size']} does not divide by num_attention_heads={heads}",
            "copy both from config.json, or head_dim too",
        )


def is_size(value: object) -> bool:
    """Say whether a value can be a size: a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
