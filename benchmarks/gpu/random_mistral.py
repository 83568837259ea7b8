"""A model of Mistral-7B-v0.1's shape, random weights in bfloat16: `python random_mistral.py FOLDER [--tiny]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import MistralConfig, MistralForCausalLM

from notus_exp.models.pretrained import load_tokenizer, tiny_random

SHAPE = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768}  # fmt: skip
"""Of mistralai/Mistral-7B-v0.1, config.json."""
TINY = {**SHAPE, "vocab_size": 512, "hidden_size": 128, "intermediate_size": 448, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 1}  # fmt: skip


def main() -> None:
    """Write weights, tokenizer (a byte a token) and the number of parameters."""
    folder, shape = Path(sys.argv[1]), TINY if "--tiny" in sys.argv else SHAPE
    with TemporaryDirectory() as small:
        tiny_random(Path(small), 0)
        tokenizer = load_tokenizer(Path(small))
    tokenizer.save_pretrained(folder)
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    # made on the device where there is one: billions of normal numbers take minutes on a processor
    with torch.device("cuda" if torch.cuda.is_available() and "--tiny" not in sys.argv else "cpu"):
        model = MistralForCausalLM(MistralConfig(**shape, **ends, sliding_window=None, tie_word_embeddings=False))
    model.save_pretrained(folder)
    number = sum(weights.numel() for weights in model.parameters())
    (folder / "parameters.json").write_text(json.dumps(number), encoding="utf-8")


if __name__ == "__main__":
    main()
