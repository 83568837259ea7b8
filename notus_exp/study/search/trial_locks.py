"""One process at a time at a search's trials: a lock that lies where the trials do.

So machines that share nothing but the storage exclude each other too. Who dies, sleeps or is cut off loses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from filelock import FileLock
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from notus_exp.disk.hashing import digest
from notus_exp.study.search.storage_urls import POSTGRESQL, connecting, parse, url_of_driver

LOCK = "search.lock"
AWAY_SECONDS = 2.0
"""How often a database that is away is tried again."""
_ASLEEP_SECONDS = 60
"""After how long the database ends the turn of a holder that asks it nothing: its machine sleeps, or is cut off."""


def turns(
    url: str, folder: Path, name: str, patience: float, away: Callable[[], None]
) -> AbstractContextManager[object]:
    """Return the lock of a search's trials.

    PostgreSQL keeps it itself. That of a sqlite file lies beside the file; of any other database in the study's folder,
    which its processes must share then.

    Args:
        url: Of the storage.
        folder: The study's.
        name: The study's.
        patience: Seconds for which a database that was reached before is waited for.
        away: Called when such waiting begins.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == POSTGRESQL:
        return _Turns(url, name, patience, away)
    file = Path(parsed.database or "").absolute()
    if parsed.get_backend_name() != "sqlite" or not file.parent.is_dir() or file.parent == folder:
        return FileLock(folder / LOCK)
    return FileLock(file.with_suffix(".lock"))


def making_tables(url: str) -> AbstractContextManager[object]:
    """Return a lock of a database's tables: two processes that make them at once would disturb each other."""
    return _Turns(url, None, 0, lambda: None) if parse(url).get_backend_name() == POSTGRESQL else nullcontext()


class _Turns:
    """PostgreSQL's advisory lock for as long as a transaction, which ends with the connection, however that ends."""

    def __init__(self, url: str, name: str | None, patience: float, away: Callable[[], None]) -> None:
        self._engine = create_engine(url_of_driver(url), poolclass=NullPool, **connecting(url))
        self._key = int(digest(["notus_exp search", name])[:15], 16)  # of 64 bits with a sign
        self._patience, self._away = patience, away
        self._held, self._reached = ExitStack(), False

    def __enter__(self) -> None:
        until, waiting = time.monotonic() + self._patience, False
        while True:
            try:
                connection = self._held.enter_context(self._engine.begin())
                break
            except OperationalError:
                if not self._reached or time.monotonic() >= until:
                    raise
            if not waiting:
                self._away()
            waiting = True
            time.sleep(AWAY_SECONDS)
        self._reached = True
        try:
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_ASLEEP_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": self._key})
        except BaseException:
            self._held.close()
            raise

    def __exit__(self, *error: object) -> None:
        self._held.close()
