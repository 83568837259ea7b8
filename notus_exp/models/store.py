"""The reference store: log-probs of completions under a base model, kept between runs in one sqlite file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from notus_exp.disk.database import Database, Say, StoreTable, to_stderr
from notus_exp.disk.hashing import digest
from notus_exp.machine.team import Team, conducts


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


class TeamStore:
    """A store as the processes of a team have it: process 0 reads and writes, the others learn what it found.

    Two processes that looked for themselves could find different things missing, and wait for each other for ever.

    Args:
        store: The store in process 0, None in the others.
        team: The processes; each calls the same methods in the same order.
    """

    def __init__(self, store: ReferenceStore | None, team: Team) -> None:
        self._store, self._team = store, team

    def get_many(self, keys: Iterable[str]) -> dict[str, float]:
        """Return in every process the log-probs of those keys that the store has."""
        return self._team.broadcast(lambda: self._store.get_many(keys) if self._store else {})

    def put_many(self, logps: Mapping[str, float]) -> None:
        """Add log-probs in one transaction, which process 0 makes."""
        if self._store:
            self._store.put_many(logps)


@contextmanager
def team_store(path: Path, say: Say, team: Team) -> Iterator[TeamStore]:
    """Open a store for the processes of a team; process 0 alone touches the file. Args as of `ReferenceStore`."""
    if not conducts(team):
        yield TeamStore(None, team)
        return
    with ReferenceStore(path, say) as store:
        yield TeamStore(store, team)


def _is_logp(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)
