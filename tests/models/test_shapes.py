"""What a model is made of is read from its config.json alone, and agrees with what transformers makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from notus_exp.config.told_shape import FAMILIES
from notus_exp.errors import UserError
from notus_exp.models.shapes import shape_of
from notus_exp.models.told_config import TINY
from support.configs import composed

SIZES = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip
VARIED: list[dict[str, Any]] = [
    {"model_type": "llama", "tie_word_embeddings": False},
    {"model_type": "llama", "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    {"model_type": "llama", "tie_word_embeddings": False, "head_dim": 32},
    {"model_type": "mistral", "tie_word_embeddings": False},
    {"model_type": "qwen2", "tie_word_embeddings": True},
    {"model_type": "qwen3", "tie_word_embeddings": False, "head_dim": 24},
    {"model_type": "smollm3", "tie_word_embeddings": True},
]


@pytest.mark.parametrize("config", VARIED, ids=lambda config: " ".join(map(str, config.values())))
def test_the_parameters_are_those_of_the_model_that_transformers_makes(config: dict[str, Any]) -> None:
    shape = shape_of({**SIZES, **config})
    assert shape is not None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**SIZES, **config}))
    layer = model.model.layers[0]
    linear = {name.rpartition(".")[2]: one for name, one in layer.named_modules() if isinstance(one, torch.nn.Linear)}
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    assert shape.block == sum(weight.numel() for weight in layer.parameters())
    assert shape.linear() == {name: (one.in_features, one.out_features) for name, one in linear.items()}
    assert {one["model_type"] for one in VARIED} == set(FAMILIES)


@pytest.mark.parametrize("option", ["tiny_random", "smollm2_135m", "zephyr_7b_sft"])
def test_what_a_model_option_says_of_its_shape_is_what_it_says_of_its_parameters(option: str) -> None:
    model = composed(f"model={option}").model
    shape = shape_of(model.shape or TINY)
    assert shape is not None
    assert shape.parameters == model.parameters


@pytest.mark.parametrize("config", [None, {}, {"model_type": "mamba"}, {"model_type": "llama", "hidden_size": "wide"},
                                    {"model_type": "llama", **SIZES, "num_key_value_heads": "two"}])  # fmt: skip
def test_what_is_not_known_is_not_guessed(config: dict[str, Any] | None) -> None:
    assert shape_of(config) is None


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("model_type:lama", "model.shape.model_type=lama: how such a model is built is not known"),
        ("model_type:llama,hidden_sise:64", "model.shape has no 'hidden_sise'\n.*'hidden_size'"),
        ("model_type:llama,hidden_size:64", "model.shape lacks vocab_size"),
        ("{all},hidden_size:-3", "model.shape.hidden_size=-3 is no whole number above 0"),
        ("{all},num_key_value_heads:two", "model.shape.num_key_value_heads=two is no whole number"),
        ("{all},num_key_value_heads:3", "num_attention_heads=4 does not divide by num_key_value_heads=3"),
        ("{all},hidden_size:65", "hidden_size=65 does not divide by num_attention_heads=4"),
        ("{all},tie_word_embeddings:maybe", "tie_word_embeddings=maybe is neither true nor false"),
    ],
)
def test_a_shape_that_no_model_has_is_refused(shape: str, told: str) -> None:
    every = "model_type:llama,vocab_size:300,hidden_size:64,intermediate_size:96,num_hidden_layers:3"
    given = shape.replace("{all}", f"{every},num_attention_heads:4")
    with pytest.raises(UserError, match=told):
        composed("model=local", "model.path=there", f"model.shape={{{given}}}")
