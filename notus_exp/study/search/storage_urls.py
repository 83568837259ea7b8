"""Which database holds a search's trials, and how it is connected to.

A password is in no config, and so in no file that a run, a study or a launcher writes: it comes from the environment
variable NOTUS_EXP_STORAGE, which holds the whole URL, or from where the database's own driver looks for it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, names_secret

STORAGE_FILE = "optuna.db"
ENVIRONMENT = "NOTUS_EXP_STORAGE"
"""Environment variable with the storage's whole URL, where that needs a password."""
POSTGRESQL = "postgresql"
"""SQLAlchemy's name of PostgreSQL."""
_EXTRA = "psycopg"
"""PostgreSQL's driver of the extra `postgresql`; psycopg2 is used where it alone is installed."""
_LIBPQ = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, and tries: a server that went away is noticed within a minute, where the system's default takes hours."""
_PORT = 5432


def check_storage(storage: str | None) -> str | None:
    """Return `study.search.storage` as the runs are given it.

    Raises:
        UserError: It is no URL of a database that several processes can share, or a password is in it: that would stand
            in the list of processes and in what a launcher writes for its jobs.
    """
    if storage is None:
        return None
    url = parse(storage)
    if _bare(url) != url:
        raise UserError(
            f"study.search.storage={shown(storage)} was given with a password, which others could read on the command"
            " line and in files",
            f"leave the password out and export {ENVIRONMENT} with the whole URL, or use PGPASSWORD or ~/.pgpass",
        )
    return _text(url)


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
    url, whole = parse(storage), os.environ.get(ENVIRONMENT) or None
    if whole is None:
        return _text(url)
    given = parse(whole)
    if _place(given) != _place(url):
        raise UserError(
            f"{ENVIRONMENT} names another database than study.search.storage={shown(storage)}",
            f"give both the same, or unset {ENVIRONMENT}",
        )
    return whole


def shown(url: str) -> str:
    """Return a URL as it may be printed."""
    return str(without_credentials(_text(_bare(parse(url)))))


def remembered(url: str) -> str:
    """Return a URL as study.json holds it, from which the database is found again: no password, the user a parameter.

    Users in their usual place are struck out of whatever is written down, with passwords.
    """
    bare = _bare(parse(url))
    user = {"user": bare.username} if bare.username else {}
    return str(without_credentials(_text(bare._replace(username=None).update_query_dict(user))))


def url_of_driver(url: str) -> str:
    """Return a URL with the driver that is to be used; PostgreSQL's is psycopg where none is named."""
    parsed = parse(url)
    if parsed.drivername == POSTGRESQL and (find_spec(_EXTRA) or not find_spec("psycopg2")):
        parsed = parsed.set(drivername=f"{POSTGRESQL}+{_EXTRA}")
    return _text(parsed)


def connecting(url: str) -> dict[str, Any]:
    """Return the arguments of `sqlalchemy.create_engine` with which a server is connected to."""
    options: dict[str, Any] = {"pool_pre_ping": True}  # a trial takes hours: its connection may be gone by then
    if "psycopg" in make_url(url_of_driver(url)).drivername:
        options["connect_args"] = {name: value for name, value in _LIBPQ.items() if name not in parse(url).query}
    return options


def parse(text: str) -> URL:
    """Return a URL in its parts.

    Raises:
        UserError: It is none of a database that several processes can share.
    """
    hint = "write dialect://host/database, such as postgresql://db.example/studies, or null for a file in the study"
    if text.startswith("postgres://"):
        raise UserError(
            "study.search.storage begins with postgres://, which SQLAlchemy does not know", "write postgresql://"
        )
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
    port = url.port or url.query.get("port") or (_PORT if url.get_backend_name() == POSTGRESQL else None)
    schema = url.query.get("options")
    return url.get_backend_name(), url.host or url.query.get("host"), str(port), url.database, schema
