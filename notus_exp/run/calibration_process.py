"""The process that measures a machine: `python -m notus_exp.run.calibration_process DEVICE PRECISION ATTENTION TEXTS`.

Two small Llama models with random weights are trained, scored and decoded for some seconds; from both follows what a
call costs whatever the model, and what a parameter and token cost. TEXTS are decoded at once. The last line on standard
output is the result as JSON. Nothing is downloaded, and nothing is written.

On the CPU processor time is measured, divided by the threads that compute, which is the wall time of a machine that
does nothing else: what others run just now is no part of the machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

SIZES = ((64, 2), (512, 6))
"""Hidden size and layers of the two models: the smaller one is the size of `model=tiny_random`."""
TEXTS, TOKENS = 8, 64
"""Shape of a batch that is trained on or scored."""
SECONDS, MOST = 0.5, 10
"""How long each is repeated at most, and how often."""


def main(arguments: list[str]) -> None:
    """Measure and print: seconds to import what trains, and of each kind of work those of a call and of a token."""
    device, precision, attention, decoded = arguments
    start = time.process_time()
    import torch
    import transformers
    from trl import DPOTrainer  # noqa: F401  # what a worker waits for before it trains

    imports = time.process_time() - start
    torch.manual_seed(0)
    costs: dict[str, list[tuple[float, float]]] = {}
    for hidden, layers in SIZES:
        shape = transformers.LlamaConfig(
            vocab_size=4096,
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=8,
            tie_word_embeddings=True,
            attn_implementation=attention,
        )
        model = transformers.LlamaForCausalLM(shape).to(device=device, dtype=getattr(torch, precision))
        parameters = sum(one.numel() for one in model.parameters())
        for name, (work, tokens) in _works(torch, model, device, int(decoded)).items():
            costs.setdefault(name, []).append((parameters * tokens, _least(torch, work, device)))
    print(json.dumps({"imports": imports} | {name: _line(*measured) for name, measured in costs.items()}))


def _works(torch: Any, model: Any, device: str, decoded: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Return by kind a call and its tokens: a pass with gradients of all weights, one without, a token of each text."""
    ids = torch.randint(0, 4096, (max(TEXTS, decoded), TOKENS), device=device)
    batch = ids[:TEXTS]

    def train() -> None:
        model.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()

    def score() -> None:
        with torch.inference_mode():
            model(input_ids=batch)

    with torch.inference_mode():
        cache = model(input_ids=ids[:decoded, : TOKENS // 2], use_cache=True).past_key_values

    def decode() -> None:
        with torch.inference_mode():
            model(input_ids=ids[:decoded, :1], past_key_values=cache, use_cache=True)

    return {"train": (train, TEXTS * TOKENS), "score": (score, TEXTS * TOKENS), "decode": (decode, decoded)}


def _least(torch: Any, work: Callable[[], object], device: str) -> float:
    """Return the least seconds of a call, after one that warms up."""

    def timed() -> float:
        if device == "cpu":
            begin = time.process_time()
            work()
            return (time.process_time() - begin) / int(torch.get_num_threads())
        begin = time.monotonic()
        work()
        getattr(torch, device).synchronize()
        return time.monotonic() - begin

    timed()
    end, taken = time.monotonic() + SECONDS, [timed()]
    while time.monotonic() < end and len(taken) < MOST:
        taken.append(timed())
    return min(taken)


def _line(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """Return the line through two points (work, seconds), neither part below 0."""
    slope = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
    return max(0.0, small[1] - slope * small[0]), slope or large[1] / large[0]


if __name__ == "__main__":
    main(sys.argv[1:])
