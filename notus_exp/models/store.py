"""The reference store: log-probs of completions under a base model, kept between runs in one sqlite file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from notus_exp.disk.database import Database
from notus_exp.disk.hashing import digest


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


class ReferenceStore(Database):
    """A transactional map from `completion_key` to a log-prob (nats), safe under several processes and `kill -9`.

    A batch is there completely or not at all. The first writer of a key wins, so that every reader sees one value.

    Args:
        path: The sqlite file; it and its folder are made where missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "CREATE TABLE IF NOT EXISTS logps (key TEXT PRIMARY KEY, logp REAL NOT NULL)")

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
