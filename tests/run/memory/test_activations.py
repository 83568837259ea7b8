"""What a block keeps for its backward pass is what autograd saves there, tensor by tensor."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from notus_exp.config.hardware_settings import Device
from notus_exp.config.training_settings import Lora, MasterWeights, Precision
from notus_exp.models.shapes import shape_of
from notus_exp.run.memory.activations import Pass, block
from notus_exp.run.memory.number_sizes import numbers_of
from support.recipes import machine, recipe

ROWS, LENGTH = 4, 96
CONFIG: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 2, "tie_word_embeddings": True,
}  # fmt: skip
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FULL = Lora(r=0, alpha=8, dropout=0.0, target_modules=[])


def saved(config: dict[str, Any], given: Any, attention: str, padded: bool) -> int:
    """The bytes of all tensors that a forward pass saves, each storage once, parameters left out."""
    made = AutoConfig.for_model(**config)
    made._attn_implementation = attention
    model = AutoModelForCausalLM.from_config(made)
    half = given.precision is Precision.bfloat16
    masters = given.lora.r == 0 and given.master_weights is MasterWeights.float32
    model = (model.to(torch.bfloat16) if half and not masters else model).train()
    inner = model.model
    if given.lora.r:
        lora = given.lora
        adapter = LoraConfig(r=lora.r, lora_alpha=8, lora_dropout=lora.dropout, target_modules=lora.target_modules)
        wrapped = get_peft_model(model, adapter)
        inner = wrapped.get_base_model().model
    own = {weight.untyped_storage().data_ptr() for weight in inner.parameters()}
    kept: dict[int, torch.Tensor] = {}  # which holds them, so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, 256, (ROWS, LENGTH))
    mask = torch.ones_like(ids)
    mask[0, -8:] = 1 - int(padded)
    cast = half and given.master_weights is MasterWeights.float32
    computing = torch.autocast("cpu", dtype=torch.bfloat16) if cast else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), computing:
        inner(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


BFLOAT16 = {"precision": Precision.bfloat16}
RECIPES: dict[str, dict[str, Any]] = {
    "all weights in float32": {"lora": FULL},
    "all weights by float32 masters": {"lora": FULL, **BFLOAT16},
    "all weights in bfloat16": {"lora": FULL, **BFLOAT16, "master_weights": MasterWeights.same},
    "LoRA in float32": {"lora": Lora(8, 8, 0.0, EVERY)},
    "LoRA of queries and values": {"lora": Lora(8, 8, 0.0, ["q_proj", "v_proj"])},
    "LoRA with dropout": {"lora": Lora(8, 8, 0.1, EVERY)},
    "LoRA in bfloat16": {"lora": Lora(8, 8, 0.0, EVERY), **BFLOAT16},
    "QLoRA": {"lora": Lora(8, 8, 0.0, EVERY, "nf4"), **BFLOAT16},
    "LoRA in bfloat16 with dropout": {"lora": Lora(8, 8, 0.1, EVERY), **BFLOAT16},
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_blocks_bytes_are_those_that_autograd_saves(name: str, attention: str) -> None:
    given, shape = recipe(**RECIPES[name]), shape_of(CONFIG)
    assert shape is not None
    for padded in (True, False):
        more, fewer = (saved({**CONFIG, "num_hidden_layers": n}, given, attention, padded) for n in (4, 2))
        numbers = numbers_of(given, machine())
        told = block(shape, numbers, given.lora, Pass(ROWS, LENGTH, attention, Device.cpu, padded)) * ROWS * LENGTH
        copies = 2 * shape.block_linear if numbers.cast else 0
        if given.lora.r and given.precision is Precision.bfloat16:
            copies = 2 * shape.adapter(8, given.lora.target_modules, "all-linear") // shape.layers
        assert told + copies == pytest.approx((more - fewer) / 2, rel=0.01)
