"""The reference store: log-probs of completions under a base model, kept between runs in one sqlite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Self

from filelock import FileLock

from notus_exp.hashing import digest

BUSY_SECONDS = 60.0


def completion_key(base_model: str, precision: str, prompt_ids: list[int], completion_ids: list[int]) -> str:
    """Return the sha256 (hex) that names a completion's log-prob: of everything that it depends on.

    Chat template, system turn and cutting are in the token ids.

    Args:
        base_model: Name of the base model's artifact, which its key is part of.
        precision: What it is computed in.
        prompt_ids: Token ids of the templated prompt.
        completion_ids: Token ids of the completion, after cutting.
    """
    return digest([base_model, precision, prompt_ids, completion_ids])


class ReferenceStore:
    """A transactional map from `completion_key` to a log-prob (nats), safe under several processes and `kill -9`.

    A batch is there completely or not at all. The first writer of a key wins, so that every reader sees one value.

    Args:
        path: The sqlite file; it and its folder are made where missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # sqlite does not wait for others while it changes the journal mode, so processes that open at once queue here.
        with FileLock(path.with_name(path.name + ".lock"), timeout=BUSY_SECONDS):
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute("CREATE TABLE IF NOT EXISTS logps (key TEXT PRIMARY KEY, logp REAL NOT NULL)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def get_many(self, keys: Iterable[str]) -> dict[str, float]:
        """Return the log-probs of those keys that the store has."""
        query = "SELECT key, logp FROM logps WHERE key IN (SELECT value FROM json_each(?))"
        with closing(self._connection.execute(query, (json.dumps(list(keys)),))) as rows:
            return dict(rows.fetchall())

    def put_many(self, logps: Mapping[str, float]) -> None:
        """Add finite log-probs in one transaction; keys that the store has already keep their value."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")  # the lock first: an upgrade from reading cannot wait
            self._connection.executemany("INSERT OR IGNORE INTO logps VALUES (?, ?)", logps.items())
