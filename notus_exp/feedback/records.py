"""Raw records of local files or of a hub dataset, one at a time, each with the place that it is from."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import polars as pl

from notus_exp.config.data_folders import file_format
from notus_exp.disk import given
from notus_exp.errors import UserError, first_line

BATCH = 1000
"""Records between two reports of progress, and rows decoded at once from a parquet file or a hub dataset."""

UNREADABLE, DUPLICATE_KEY = "unreadable", "duplicate_key"
"""Rules by which a record is set aside before its fields are looked at."""

OnShareRead = Callable[[float], None]
"""Is told the share of the data that was read, in [0, 1]."""


class Malformed(NamedTuple):
    """A record that could not be read, as it is written to the quarantine file.

    Attributes:
        file: Name of the file, relative to the folder read, or `ORG/NAME/SPLIT` of a hub dataset.
        line: Line number from 1 in JSON lines, and in CSV where the record begins; record number from 1 in anything
            else.
        reason: What is wrong with it.
        raw: The record as text.
        rule: Name of the rule that set it aside, by which such records are counted.
    """

    file: str
    line: int
    reason: str
    raw: str
    rule: str = UNREADABLE


class Record(NamedTuple):
    """One raw record.

    Attributes:
        row: Its number in the whole source, from 0; malformed records are counted too.
        file: As in `Malformed`.
        line: As in `Malformed`.
        value: Its fields.
        text: The line that it was parsed from, or None where there is no such text.
    """

    row: int
    file: str
    line: int
    value: dict[str, Any]
    text: str | None

    def malformed(self, reason: str, rule: str) -> Malformed:
        """Return the quarantine's entry for this record."""
        raw = json.dumps(self.value, ensure_ascii=False, default=str) if self.text is None else self.text
        return Malformed(self.file, self.line, reason, raw, rule)


class _Item(NamedTuple):
    """What one line, list element or table row holds: a value, or the reason why there is none."""

    line: int
    share: float
    value: Any
    text: str | None
    reason: str = ""
    rule: str = UNREADABLE


def read_files(files: Sequence[Path], report: OnShareRead) -> Iterator[Record | Malformed]:
    """Yield the records of local files in the given order (see `sources.resolve_files`).

    Blank lines are skipped. A line that is not a JSON object, and a list element that is not an object, is `Malformed`.

    Raises:
        UserError: A file as a whole cannot be read: no permission, a broken or cut archive, not JSON, parquet, CSV or
            Arrow.
    """
    rows = itertools.count()
    sizes = [file.stat().st_size for file in files]
    total = sum(sizes) or 1
    done = 0
    for file, name, size in zip(files, _names(files), sizes, strict=True):
        for item in _reported(_items(file), report, done / total, size / total):
            yield _judged(item, next(rows), name)
        done += size


def read_hub(hub_id: str, split: str, commit: str, report: OnShareRead) -> Iterator[Record | Malformed]:
    """Yield the records of a hub dataset's split at a commit, through the library `datasets`, which caches it.

    No code of the repository is run: datasets that are a loading script are refused by the library.

    Raises:
        UserError: The dataset cannot be loaded: not reachable, no such split, not data files.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(hub_id, split=split, revision=commit)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        raise UserError(
            f"dataset {hub_id} (data.hub_split={split}, commit {commit}) cannot be loaded: {first_line(problem)}",
            "check data.hub_id and data.hub_split and the network, or read a local copy with data.path=FILE",
        ) from problem
    name = f"{hub_id}/{split}"
    batches = dataset.with_format("arrow").iter(BATCH)
    values = (value for batch in batches for value in batch.to_pylist())
    items = (_Item(row + 1, row / len(dataset), value, None) for row, value in enumerate(values))
    for row, item in enumerate(_reported(items, report)):
        yield _judged(item, row, name)


def _reported(items: Iterator[_Item], report: OnShareRead, before: float = 0.0, weight: float = 1.0) -> Iterator[_Item]:
    """Pass items on, reporting now and then how far they are: `before`, and their own share times `weight`."""
    for number, item in enumerate(items):
        if number % BATCH == 0:
            report(before + weight * item.share)
        yield item


def _judged(item: _Item, row: int, name: str) -> Record | Malformed:
    if not item.reason and isinstance(item.value, dict):
        return Record(row, name, item.line, item.value, item.text)
    raw = json.dumps(item.value, ensure_ascii=False, default=str) if item.text is None else item.text
    return Malformed(name, item.line, item.reason or f"not an object but {type(item.value).__name__}", raw, item.rule)


def _names(files: Sequence[Path]) -> list[str]:
    if len(files) == 1:
        return [files[0].name]
    folder = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(folder).as_posix() for file in files]


def _items(file: Path) -> Iterator[_Item]:
    readers = {"jsonl": _json_lines, "json": _json_document, "parquet": _parquet, "csv": _csv, "arrow": _arrow}
    kind = file_format(file)
    if kind is None:
        raise UserError(f"data.path: cannot read the type of '{file}'")
    try:
        yield from readers[kind](file)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as problem:
        raise UserError(
            f"data.path: '{file}' cannot be read: {first_line(problem)}", "write the file again"
        ) from problem


def _json_lines(file: Path) -> Iterator[_Item]:
    size = file.stat().st_size
    with file.open("rb") as raw, _decompressed(raw, file) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield _parsed_line(number, raw.tell() / size, line)


def _parsed_line(number: int, share: float, line: bytes) -> _Item:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as problem:
        kept = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        return _Item(number, share, None, kept, f"not UTF-8: {problem.reason} at byte {problem.start}")
    try:
        return _Item(number, share, given.parse(text), text)
    except json.JSONDecodeError as problem:
        return _Item(number, share, None, text, f"not JSON: {problem.msg} at column {problem.colno}")
    except given.DuplicateKeyError as problem:
        return _Item(number, share, None, text, str(problem), DUPLICATE_KEY)
    except ValueError as problem:  # a number with thousands of digits, or nested thousands deep
        return _Item(number, share, None, text, f"not JSON that can be read: {problem}")


def _json_document(file: Path) -> Iterator[_Item]:
    """Yield an object as one record or a list as its elements; JSON lines named .json are read as such."""
    with file.open("rb") as raw, _decompressed(raw, file) as stream:
        content = stream.read()
    try:
        document = given.parse(content.decode("utf-8-sig"))
    except (json.JSONDecodeError, given.DuplicateKeyError) as problem:
        if _holds_lines(content):
            yield from _json_lines(file)
            return
        if isinstance(problem, given.DuplicateKeyError):
            raise UserError(f"data.path: '{file}': {problem}", "keep one of the two values") from problem
        place = f"line {problem.lineno}, column {problem.colno}"
        raise UserError(f"data.path: '{file}' is not JSON: {problem.msg} ({place})", "mend the file there") from problem
    except ValueError as problem:
        raise UserError(f"data.path: '{file}' is not JSON: {problem}", "write the file again, in UTF-8") from problem
    elements = document if isinstance(document, list) else [document]
    for index, element in enumerate(elements):
        yield _Item(index + 1, index / len(elements), element, None)


def _holds_lines(content: bytes) -> bool:
    """Say whether the content is several objects, one a line."""
    first, _, rest = content.partition(b"\n")
    item = _parsed_line(1, 0.0, first)
    return bool(rest.strip()) and (isinstance(item.value, dict) or item.rule == DUPLICATE_KEY)


def _parquet(file: Path) -> Iterator[_Item]:
    table = pl.read_parquet(file, glob=False)
    for start, part in zip(range(0, table.height, BATCH), table.iter_slices(BATCH), strict=True):
        for index, value in enumerate(part.to_dicts(), start=start):
            yield _Item(index + 1, index / table.height, value, None)


def _csv(file: Path) -> Iterator[_Item]:
    """Yield the records of CSV with a header, their values as texts (RFC 4180: texts of several lines are quoted)."""
    size = file.stat().st_size
    limit = csv.field_size_limit(sys.maxsize)  # of a text: Python's own is 131,072 characters
    line = 1
    try:
        with file.open("rb") as raw, _decompressed(raw, file) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            rows = csv.reader(text, strict=True)
            header = _header(next(rows, []), file)
            line = rows.line_num + 1
            for values in rows:
                if values:
                    yield _csv_item(line, raw.tell() / size, header, values)
                line = rows.line_num + 1
    except csv.Error as problem:
        hint = "mend the file there: a text with a quote or line end is quoted, and its quotes are doubled"
        raise UserError(f"data.path: '{file}' is not CSV at line {line}: {problem}", hint) from problem
    finally:
        csv.field_size_limit(limit)


def _header(names: list[str], file: Path) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"data.path: '{file}' has {names.count(twice)} columns '{twice}'", "give each its own name")
    if not any(names):
        raise UserError(f"data.path: '{file}' has no header", "write the names of the columns into its first line")
    return names


def _csv_item(line: int, share: float, header: list[str], values: list[str]) -> _Item:
    if len(values) != len(header):
        return _Item(line, share, values, None, f"has {len(values)} fields, and the header {len(header)}")
    record = dict(zip(header, values, strict=True))
    bad = next((name for name, value in record.items() if not value.isascii() and _NOT_UTF8.search(value)), None)
    if bad is None:
        return _Item(line, share, record, None)
    kept = {name: value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            for name, value in record.items()}  # fmt: skip
    return _Item(line, share, kept, None, f"{bad} is not UTF-8")


_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def _arrow(file: Path) -> Iterator[_Item]:
    """Yield the records of an Arrow stream, as `datasets` saves it, or of an Arrow file, a part in memory at a time."""
    import pyarrow

    try:
        with pyarrow.OSFile(str(file), "rb") as source:  # not mapped: what was read would stay in memory
            for number, (share, value) in enumerate(_arrow_rows(source, file), start=1):
                yield _Item(number, share, value, None)
    except pyarrow.ArrowException as problem:
        reason = f"data.path: '{file}' cannot be read as Arrow: {first_line(problem)}"
        raise UserError(reason, "write the file again") from problem


def _arrow_rows(source: Any, file: Path) -> Iterator[tuple[float, Any]]:
    from pyarrow import ipc

    size = source.size()
    beginning = source.read_at(len(_ARROW_FILE), 0)
    if beginning != _ARROW_FILE and source.read_at(len(_ARROW_END), max(size - len(_ARROW_END), 0)) != _ARROW_END:
        raise UserError(f"data.path: '{file}' is cut, or no Arrow file", "write the file again")
    source.seek(0)
    if beginning == _ARROW_FILE:
        stored = ipc.open_file(source)
        batches = ((number / stored.num_record_batches, stored.get_batch(number))
                   for number in range(stored.num_record_batches))  # fmt: skip
    else:
        batches = ((source.tell() / size, batch) for batch in ipc.open_stream(source))
    for share, batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            for value in batch.slice(start, BATCH).to_pylist():
                yield share, value


_ARROW_FILE, _ARROW_END = b"ARROW1", b"\xff\xff\xff\xff\0\0\0\0"
"""What an Arrow file begins with; what a stream ends with: without it, the end may have been cut off."""


def _decompressed(raw: IO[bytes], file: Path) -> IO[bytes]:
    name = file.name.lower()
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if name.endswith(".zst"):
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(raw, "zstd"))  # type: ignore[return-value]
    return raw
