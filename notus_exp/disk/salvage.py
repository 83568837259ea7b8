"""What can still be read of a damaged sqlite file: every row on a page that is whole, whatever became of the others.

sqlite stops at the first page that it cannot make sense of. This reads the pages themselves, one by one, by the file
format that sqlite documents (https://www.sqlite.org/fileformat2.html, sections 1.3, 1.6, 2.1 and 4.1), as its command
`.recover` does: header, b-tree interior and schema are not needed. Which records are rows, the caller decides.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_MAGIC = b"SQLite format 3\0"
_PAGE_SIZE = 4096
"""Of files whose header does not tell: sqlite's own default, with which ours are made."""
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 0x0D, 0x0A, 0x02
_CELLS_AT = {_TABLE_LEAF: 8, _INDEX_LEAF: 8, _INDEX_INTERIOR: 12}
_LEAST_CELL = 6
"""Bytes that a cell takes at least, its place in the list of cells included."""
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_WAL_HEADER, _FRAME_HEADER = 32, 24

Columns = list[Any]
"""The columns of a row: None, int, float, str or bytes. Text that is not UTF-8 has U+FFFD in it."""


class _Unreadable(Exception):  # noqa: N818 - no error: a cell that is passed over
    """A cell that does not hold together."""


class Readable(NamedTuple):
    """What a damaged file still holds.

    Attributes:
        records: Of every cell that reads as a row of a table, right or wrong.
        keys: First column of every entry of an index: what rows there were.
        unread: Cells on pages of a table, the schema's aside, that do not read as rows.
        short: Whether the file has fewer whole pages than it says.
    """

    records: list[Columns]
    keys: set[str]
    unread: int
    short: bool


def is_database(path: Path) -> bool:
    """Say whether a file begins as every sqlite file does."""
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def read_damaged(path: Path) -> Readable:
    """Return the records and index keys of a sqlite file and of the write-ahead log beside it, damaged or not.

    Args:
        path: The file; its log is `<path>-wal`. No other process may write to them meanwhile.
    """
    data = path.read_bytes()
    size = _page_size(data)
    pages = {number: data[start : start + size] for number, start in enumerate(range(0, len(data), size), 1)}
    log = path.with_name(path.name + "-wal")
    logged = list(_logged(log.read_bytes(), size)) if log.exists() else []
    newest = pages | dict(logged)
    usable = size - (data[20] if len(data) > 20 and data[:16] == _MAGIC and data[20] < size - 480 else 0)
    records: list[Columns] = []
    keys: set[str] = set()
    unread = 0
    # the pages as they were before the log too: where that is damaged they hold what it replaced
    for number, page in [*logged, *pages.items()]:
        read = [*_cells(page, number, _TABLE_LEAF, newest, usable)]
        records += (one for one in read if one is not None)
        if page[:1] == bytes([_TABLE_LEAF]) and page is newest[number]:
            unread += read.count(None)
        if page[:1] and page[0] in (_INDEX_LEAF, _INDEX_INTERIOR):
            keys |= {one[0] for one in _cells(page, number, page[0], newest, usable) if one and type(one[0]) is str}
    said = int.from_bytes(newest.get(1, b"")[28:32], "big") if data[:16] == _MAGIC else 0
    whole = sum(len(page) == size for page in newest.values())
    return Readable(records, keys, unread, said > whole)


def _page_size(data: bytes) -> int:
    size: int = struct.unpack(">H", data[16:18])[0] if len(data) >= 18 else 0
    size = 65536 if size == 1 else size
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 and data[:16] == _MAGIC else _PAGE_SIZE


def _logged(log: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each page in a write-ahead log that belongs to its present generation."""
    salts = log[16:24]
    for start in range(_WAL_HEADER, len(log) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        number = int.from_bytes(log[start : start + 4], "big")
        if log[start + 8 : start + 16] == salts and number:
            yield number, log[start + _FRAME_HEADER : start + _FRAME_HEADER + size]


def _cells(page: bytes, number: int, kind: int, pages: dict[int, bytes], usable: int) -> Iterator[Columns | None]:
    """Yield the record of each cell of a page that is read as one of this kind, whatever the page says of itself.

    None stands for a cell that cannot be read.
    """
    start = 100 if number == 1 else 0
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + _CELLS_AT[kind]
    if count * _LEAST_CELL > len(page):  # no page: it would take very long to find nothing in it
        return
    for place in range(first, min(first + 2 * count, len(page) - 1), 2):
        try:
            yield _cell(page, int.from_bytes(page[place : place + 2], "big"), kind, pages, usable)
        except (_Unreadable, IndexError, struct.error):
            yield None


def _cell(page: bytes, at: int, kind: int, pages: dict[int, bytes], usable: int) -> Columns:
    at += 4 if kind == _INDEX_INTERIOR else 0
    length, at = _varint(page, at)
    if kind == _TABLE_LEAF:
        _, at = _varint(page, at)  # the row's number
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    if length <= most:
        if at + length > len(page):
            raise _Unreadable
        return _record(page[at : at + length])
    least = (usable - 12) * 32 // 255 - 23
    here = least + (length - least) % (usable - 4)
    here = here if here <= most else least
    following = int.from_bytes(page[at + here : at + here + 4], "big")
    payload = page[at : at + here]
    seen: set[int] = set()
    while len(payload) < length:
        if following in seen or following not in pages:
            raise _Unreadable
        seen.add(following)
        content = pages[following]
        following = int.from_bytes(content[:4], "big")
        payload += content[4:usable]
    return _record(payload[:length])


def _record(payload: bytes) -> Columns:
    end, at = _varint(payload, 0)
    if end > len(payload):
        raise _Unreadable
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    found: Columns = []
    at = end
    for kind in kinds:
        value, at = _value(payload, at, kind)
        found.append(value)
    if at != len(payload):
        raise _Unreadable
    return found


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    length = 8 if kind == 7 else _INTEGER_BYTES.get(kind) or ((kind - 12) // 2 if kind >= 12 else -1)
    part = payload[at : at + length]
    if length < 0 or len(part) < length:
        raise _Unreadable
    if kind == 7:
        return struct.unpack(">d", part)[0], at + length
    if kind in _INTEGER_BYTES:
        return int.from_bytes(part, "big", signed=True), at + length
    return part.decode("utf-8", "replace") if kind % 2 else part, at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes, the high bit of each but the ninth saying that there is another, and its end."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1
