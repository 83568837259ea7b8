"""A sqlite file that several processes share and that `kill -9` does not hurt."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self

from filelock import FileLock

BUSY_SECONDS = 60.0


class Database:
    """An open sqlite file; a context manager that closes it.

    Args:
        path: The file; it and its folder are made where missing.
        table: The statement that makes its table where missing.
        threads: Whether several threads use it; they must then take turns themselves.
    """

    def __init__(self, path: Path, table: str, *, threads: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # sqlite does not wait for others while it changes the journal mode, so processes that open at once queue here.
        with FileLock(path.with_name(path.name + ".lock"), timeout=BUSY_SECONDS):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not threads
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
