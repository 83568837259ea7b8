"""Small models of the shape of published ones."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from notus_exp.models.pretrained import tiny_random


def mistral(folder: Path, layers: int = 2, hidden: int = 64) -> None:
    """Write a random model of Mistral 7B's proportions, with the tokenizer of the tiny random one."""
    tiny_random(folder, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=hidden * 7 // 2,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 16,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=32768,
            sliding_window=4096,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)
