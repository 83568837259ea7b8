"""What drawing tokens costs beside a generator for each prompt, which is how it was done before: ratios, side by side.

    python benchmarks/noise.py

Prints a table of milliseconds a step, of the processor and by the clock, medians of alternating rounds, with the ratio.
On a CUDA device the generators stay on the processor, as they were, and their noise is copied.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from notus_exp.generation.noise import gumbel

SHAPES = [(64, 32_000), (32, 49_152), (64, 151_936)]
"""Rows and vocabulary of a step: Mistral's, SmolLM2's in the CPU profile, Qwen's."""
ROUNDS = 7


def by_generators(streams: list[torch.Generator], vocabulary: int, device: torch.device) -> torch.Tensor:
    """Return a step's noise from a generator a row."""
    waits = [torch.empty(vocabulary).exponential_(generator=stream) for stream in streams]
    return -torch.stack([wait.clamp_min(torch.finfo(wait.dtype).tiny).log().to(device) for wait in waits])


def seconds(work: Callable[[], torch.Tensor], device: torch.device) -> tuple[float, float]:
    """Return seconds of the processor and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.process_time() - processor, time.perf_counter() - clock


def main() -> None:
    """Print the table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{named}, torch {torch.__version__}; ms a step: processor (clock)\n")
    print("| rows | vocabulary | generators | counter | ratio |\n|---:|---:|---:|---:|---:|")
    for rows, vocabulary in SHAPES:
        streams = [torch.Generator().manual_seed(row) for row in range(rows)]
        seeds = torch.arange(rows, device=device)
        ways: list[Callable[[], torch.Tensor]] = [
            lambda streams=streams, size=vocabulary: by_generators(streams, size, device),
            lambda seeds=seeds, size=vocabulary: gumbel(seeds, 0, size),
        ]
        taken: list[list[tuple[float, float]]] = [[], []]
        for _ in range(ROUNDS):
            for found, way in zip(taken, ways, strict=True):
                found.append(seconds(way, device))
        told = [[1000 * statistics.median(column) for column in zip(*found, strict=True)] for found in taken]
        cells = [f"{processor:.1f} ({clock:.1f})" for processor, clock in told]
        ratios = [new / old for old, new in zip(*told, strict=True)]
        print(f"| {rows} | {vocabulary} | {cells[0]} | {cells[1]} | {ratios[0]:.2f} ({ratios[1]:.2f}) |")


if __name__ == "__main__":
    main()
