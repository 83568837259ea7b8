"""The reference store: log-probs of completions under a base model, kept between runs in one sqlite file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from notus_exp.disk.database import Database, Say, StoreTable, to_stderr
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


_TABLE = StoreTable("logps", "logp", "REAL", "log-probs", costly=False)


class ReferenceStore(Database):
    """A transactional map from `completion_key` to a log-prob (nats), safe under several processes and `kill -9`.

    A batch is there completely or not at all. The first writer of a key wins, so that every reader sees one value. A
    damaged file is set aside, and a damaged row taken out: what is missing is computed anew.

    Args:
        path: The sqlite file; it and its folder are made where missing.
        say: Told of damage.

    Raises:
        UserError: The file cannot be used; see `Database`.
    """

    def __init__(self, path: Path, say: Say = to_stderr) -> None:
        super().__init__(path, _TABLE, _is_logp, say)

    def get_many(self, keys: Iterable[str]) -> dict[str, float]:
        """Return the log-probs of those keys that the store has."""
        return self.read(keys)

    def put_many(self, logps: Mapping[str, float]) -> None:
        """Add finite log-probs in one transaction; keys that the store has already keep their value."""
        self.add(logps)


def _is_logp(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)
