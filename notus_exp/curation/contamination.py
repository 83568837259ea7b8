"""Benchmark contamination: reading benchmark prompts, and the share of a prompt's n-grams that occur in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk import given
from notus_exp.errors import UserError, first_line

FIELDS = ("prompt", "instruction", "question", "text")
"""Where a benchmark's prompt is looked for when no field is named, in this order."""


def read_prompts(path: Path, field: str | None) -> list[str]:
    """Read the prompts of a benchmark.

    Args:
        path: .txt (one prompt a line), .json (a list), .jsonl, .csv or .parquet. A record is a text, or an object whose
            field holds a text or a list of texts (the turns of a conversation, each one a prompt).
        field: The field or column; None tries `FIELDS`. Text files have none.

    Raises:
        UserError: Missing or unreadable file, unknown suffix, no such field, or no prompt at all.
    """
    readers: dict[str, Callable[[Path], Iterable[Any]]] = {
        ".txt": _text_lines,
        ".json": _json_list,
        ".jsonl": lambda path: (given.parse(line) for line in _text_lines(path)),
        ".csv": _csv_rows,
        ".parquet": lambda path: pl.read_parquet(path, glob=False).iter_rows(named=True),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UserError(
            f"filters.contamination.files: {path} ends in '{suffix}'", f"supported: {', '.join(sorted(readers))}"
        )
    if not path.is_file():
        raise UserError(f"filters.contamination.files: {path} does not exist", "check the path")
    try:
        prompts = [text for record in readers[suffix](path) for text in _texts(record, field, path)]
    except (ValueError, pl.exceptions.PolarsError, OSError) as error:
        message = f"filters.contamination.files: {path} cannot be read: {first_line(error)}"
        raise UserError(message, "mend or leave out the file") from error
    if not prompts:
        raise UserError(f"filters.contamination.files: {path} holds no prompt", "leave the file out")
    return prompts


def overlap(prompts: Sequence[str] | pl.Series, benchmark: Sequence[str], ngram: int) -> pl.Series:
    """Return the share of each prompt's word n-grams that occur in any benchmark prompt.

    Words are what is left of the lowercased text, in NFC, once everything but letters, digits and underscores is a gap.
    A text with fewer than `ngram` words is a single n-gram of all its words; one without words has share 0.

    Args:
        prompts: Texts, shape (n,).
        benchmark: Benchmark prompts.
        ngram: Words per n-gram.

    Returns:
        Float64 series of shape (n,), in [0, 1]; repeated n-grams count as often as they occur.
    """
    known = _ngrams(pl.Series(benchmark, dtype=pl.String), ngram).select("gram").unique()
    grams = _ngrams(pl.Series(prompts, dtype=pl.String), ngram)
    found = grams.with_columns(found=pl.col("gram").is_in(known["gram"].implode()))
    shares = found.group_by("text").agg(share=pl.col("found").mean())
    texts = pl.DataFrame({"text": pl.int_range(len(prompts), dtype=pl.UInt32, eager=True)})
    return texts.join(shares, on="text", how="left", maintain_order="left")["share"].fill_null(0.0)


def _ngrams(texts: pl.Series, ngram: int) -> pl.DataFrame:
    """Return one row per n-gram: `text` (index) and `gram` (words joined by a space)."""
    lowered = texts.str.normalize("NFC").str.to_lowercase()
    frame = pl.DataFrame({"words": lowered.str.extract_all(r"[\p{L}\p{N}_]+")}).with_row_index("text")
    short = frame.filter(pl.col("words").list.len().is_between(1, ngram - 1))
    short = short.select("text", gram=pl.col("words").list.join(" "))
    words = frame.filter(pl.col("words").list.len() >= ngram).explode("words")
    following = [pl.col("words").shift(-step) for step in range(ngram)]
    long = words.select(
        "text", gram=pl.concat_str(following, separator=" "), last=pl.col("text").shift(-(ngram - 1))
    ).filter(pl.col("last") == pl.col("text"))  # an n-gram ends in the text that it begins in
    return pl.concat([short, long.select("text", "gram")])


def _text_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _csv_rows(path: Path) -> Iterable[dict[str, Any]]:
    given.check_header(path, "filters.contamination.files")
    return pl.read_csv(path, infer_schema=False, glob=False).iter_rows(named=True)


def _json_list(path: Path) -> list[Any]:
    records = given.parse(path.read_text(encoding="utf-8"))
    if not isinstance(records, list):
        raise ValueError("it is not a list of prompts")
    return records


def _texts(record: Any, field: str | None, path: Path) -> list[str]:
    if isinstance(record, str):
        return [record]
    if not isinstance(record, dict):
        raise ValueError(f"a record is neither text nor an object: {str(record)[:80]}")
    name = field or next((known for known in FIELDS if known in record), None)
    if name is None or name not in record:
        raise UserError(
            f"filters.contamination.field: {path} has no {'field ' + name if name else 'known prompt field'}",
            f"set filters.contamination.field to one of: {', '.join(map(str, record))}",
        )
    value = record[name]
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"field '{name}' holds no text: {str(value)[:80]}")
    return texts
