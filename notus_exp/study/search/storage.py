"""Opening the storage of a search's trials, and saying what is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from notus_exp.contracts.format import DamagedFileError
from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, first_line
from notus_exp.study.search.storage_urls import ENVIRONMENT, POSTGRESQL, connecting, parse, shown, url_of_driver
from notus_exp.study.search.trial_locks import making_tables

BUSY_SECONDS = 60.0
"""How long sqlite waits for another process that writes."""
COMPANIONS = ("-journal", "-wal", "-shm")
"""Suffixes of the files that sqlite may keep beside the storage's."""
_MENDS = "the search's command sets it aside and asks for its trials again; their finished runs are used again"
_HELD = "another process holds it: wait for that or end it, and give the command again"


def open_storage(url: str) -> RDBStorage:
    """Open a storage, made where it is missing. Optuna's own messages are silent from here on.

    Raises:
        UserError: The database cannot be reached, or its driver is missing.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if parse(url).get_backend_name() == "sqlite":
        # A writer waits for others from its first statement on; one that began as a reader could not.
        options: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS, "isolation_level": "IMMEDIATE"}}
        with explained(url):
            return RDBStorage(url, engine_kwargs=options)
    with explained(url), making_tables(url):
        return RDBStorage(url_of_driver(url), engine_kwargs=connecting(url))


def has_tables(url: str) -> bool:
    """Say whether a database holds searches, making nothing there.

    Raises:
        SQLAlchemyError: It cannot be reached.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(parsed.database or "").is_file()
    engine = create_engine(url_of_driver(url), poolclass=NullPool, **connecting(url))
    return bool(inspect(engine).has_table("studies"))


def damage_of(path: Path) -> str | None:
    """Return in words what is wrong with a search's sqlite file, None where nothing is or there is none."""
    if not path.is_file():
        return None
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as file:
            [(found,), *_] = file.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return str(error) if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR) else None
    return None if found == "ok" else str(found).rpartition("\n")[2]


def damaged(path: Path, reason: str) -> DamagedFileError:
    """Return the error of a search's file that cannot be believed."""
    return DamagedFileError(f"{path} is damaged: {reason}", _MENDS)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn a failure of the database into an expected error that shows no password."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "schema" not in str(error):
            raise
        cause = error.__cause__ if isinstance(error, StorageInternalError | ImportError) and error.__cause__ else error
        first = first_line(cause)
        password = parse(url).password
        first = str(without_credentials(first.replace(str(password), "***") if password else first))
        hint = f"check study.search.storage and its driver; for a password set {ENVIRONMENT} to the whole URL"
        if isinstance(cause, ImportError) and parse(url).get_backend_name() == POSTGRESQL:
            hint = "pip install 'notus-exp[postgresql]'"
        if parse(url).get_backend_name() == "sqlite":
            hint = _HELD if "locked" in first else _MENDS if "malformed" in first or "not a database" in first else hint
        raise UserError(f"the search's storage {shown(url)} cannot be used: {first}", hint) from None
