"""Feedback of any size for the benchmark of curation, written in each layout that a way of curating reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from notus_exp.disk.hashing import prompt_id

ASPECTS = ["helpfulness", "honesty", "instruction_following", "truthfulness"]
WORDS = (  # a vocabulary, so that the texts compress about as well as prose does
    "the a one some each river garden window teacher bridge letter morning market engine forest singer number question "
    "answer because while although before after slowly quickly often never always small large bright quiet heavy warm "
    "cold makes takes gives finds keeps brings writes reads counts moves explains compares measures describes with for "
    "from under over between toward without into and or but then so therefore however we you they people someone water "
    "paper stone glass music story summer winter city village island road train ship"
)
COMPLETIONS = 4
PROMPT_CHARS, RESPONSE_CHARS = 250, 1_200
CHUNK = 16_000


def texts(draw: np.random.Generator, number: int, mean_chars: int) -> list[str]:
    """Return texts of words, with lengths spread from half to one and a half of the mean."""
    lengths = draw.integers(mean_chars // 2, mean_chars * 3 // 2, number)
    words = np.array(WORDS.split())
    words = words[draw.integers(0, len(words), int(lengths.sum()) // 4)]
    run = " ".join(words.tolist())
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return [run[start : start + length] for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)]


def chunks(prompts: int) -> Iterator[pl.DataFrame]:
    """Yield completions tables of at most `CHUNK` prompts, each with its own seed."""
    for start in range(0, prompts, CHUNK):
        number = min(CHUNK, prompts - start)
        draw = np.random.default_rng([7, start])
        rows = number * COMPLETIONS
        instructions = texts(draw, number, PROMPT_CHARS)
        ratings = {f"rating_{aspect}": draw.integers(1, 6, rows).astype(np.float64) for aspect in ASPECTS}
        yield pl.DataFrame(
            {
                "prompt_id": np.repeat([prompt_id(text) for text in instructions], COMPLETIONS).tolist(),
                "row": np.repeat(np.arange(start, start + number), COMPLETIONS),
                "source": "benchmark",
                "instruction": [text for text in instructions for _ in range(COMPLETIONS)],
                "completion": np.tile(np.arange(COMPLETIONS), number),
                "model": [f"model-{index}" for index in draw.integers(0, 17, rows)],
                "principle": "",
                "system_prompt": "",
                "response": texts(draw, rows, RESPONSE_CHARS),
                **ratings,
                "overall_score": draw.integers(1, 11, rows).astype(np.float64),
                "critique": "",
            }
        )


def nested(table: pl.DataFrame) -> pl.DataFrame:
    """Return a row a prompt with its completions as a list of structs."""
    fields = {"model": "model", "response": "response", **{aspect: f"rating_{aspect}" for aspect in ASPECTS}}
    return table.group_by("row", maintain_order=True).agg(
        pl.col("instruction").first(), pl.col("source").first(), completions=pl.struct(**fields)
    )


def make_data(folder: Path, prompts: int, layouts: dict[str, Callable[[pl.DataFrame], pl.DataFrame]]) -> None:
    """Write the feedback in each layout, chunk by chunk, as one parquet file each."""
    for name, layout in layouts.items():
        parts = folder / f"{name}-parts"
        parts.mkdir()
        for number, chunk in enumerate(chunks(prompts)):
            layout(chunk).write_parquet(parts / f"{number:03}.parquet")
        pl.scan_parquet(parts / "*.parquet").sink_parquet(folder / f"{name}.parquet")
        for part in parts.iterdir():
            part.unlink()
        parts.rmdir()
