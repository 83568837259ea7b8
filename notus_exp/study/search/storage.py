"""Where a search's trials are kept: a sqlite file in the study's folder, or any database that SQLAlchemy reaches.

A password is never in a config, and so in no file that a run or a study writes: it is taken out of
`study.search.storage` before anything is launched, and passed on through the environment variable NOTUS_EXP_STORAGE.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from notus_exp.contracts.format import DamagedFileError
from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, first_line, names_secret

STORAGE_FILE = "optuna.db"
ENVIRONMENT = "NOTUS_EXP_STORAGE"
"""Environment variable with the storage's whole URL, where that needs a password."""
BUSY_SECONDS = 60.0
COMPANIONS = ("-journal", "-wal", "-shm")
"""Suffixes of the files that sqlite may keep beside the storage's."""
"""How long sqlite waits for another process that writes."""
_MENDS = "the search's command sets it aside and asks for its trials again; their finished runs are used again"
_HELD = "another process holds it: wait for that or end it, and give the command again"


def take_password(storage: str | None) -> str | None:
    """Return `study.search.storage` without its password, which goes into this process's environment instead.

    Raises:
        UserError: It is no URL of a database that several processes can share.
    """
    if storage is None:
        return None
    url = _parse(storage)
    bare = _bare(url)
    if bare != url:
        os.environ[ENVIRONMENT] = storage
    return _text(bare)


def storage_url(storage: str | None, folder: Path) -> str:
    """Return the URL to open, password included; never to be shown.

    Args:
        storage: `study.search.storage`.
        folder: The study's.

    Raises:
        UserError: It is no such URL, or NOTUS_EXP_STORAGE names another database.
    """
    if storage is None:
        return f"sqlite:///{folder.absolute() / STORAGE_FILE}"
    url, whole = _parse(storage), os.environ.get(ENVIRONMENT)
    if whole is None:
        return _text(url)
    given = _parse(whole)
    if _place(given) != _place(url):
        raise UserError(
            f"{ENVIRONMENT} names another database than study.search.storage={shown(storage)}",
            f"give both the same, or unset {ENVIRONMENT}",
        )
    return whole


def shown(url: str) -> str:
    """Return a URL as it may be printed."""
    return str(without_credentials(_text(_bare(_parse(url)))))


def open_storage(url: str) -> RDBStorage:
    """Open a storage, made where it is missing. Optuna's own messages are silent from here on.

    Raises:
        UserError: The database cannot be reached, or its driver is missing.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options: dict[str, Any] = {}
    if _parse(url).get_backend_name() == "sqlite":
        # A writer waits for others from its first statement on; one that began as a reader could not.
        options = {"connect_args": {"timeout": BUSY_SECONDS, "isolation_level": "IMMEDIATE"}}
    with explained(url):
        return RDBStorage(url, engine_kwargs=options)


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
        password = _parse(url).password
        first = str(without_credentials(first.replace(str(password), "***") if password else first))
        hint = f"check study.search.storage and its driver; for a password set {ENVIRONMENT} to the whole URL"
        if _parse(url).get_backend_name() == "sqlite":
            hint = _HELD if "locked" in first else _MENDS if "malformed" in first or "not a database" in first else hint
        raise UserError(f"the search's storage {shown(url)} cannot be used: {first}", hint) from None


def _parse(text: str) -> URL:
    hint = "write dialect://host/database, such as postgresql://db.example/studies, or null for a file in the study"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UserError(f"study.search.storage={without_credentials(text)} is no URL of a database", hint) from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise UserError(f"study.search.storage={text} lies in one process's memory", "name a file: sqlite:///FILE.db")
    return url


def _bare(url: URL) -> URL:
    kept = {name: value for name, value in url.query.items() if not names_secret(name)}
    return url._replace(password=None).set(query=kept)


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _place(url: URL) -> tuple[Any, ...]:
    return url.get_backend_name(), url.host, url.port, url.database
