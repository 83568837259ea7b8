"""A small reward model with random weights."""

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from notus_exp.models.pretrained import load_tokenizer


def save_reward_model(folder, tokenizer_folder, outputs=1, pad=True):
    tokenizer = load_tokenizer(tokenizer_folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        num_labels=outputs,
        pad_token_id=tokenizer.pad_token_id if pad else None,
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
