"""A sqlite file that several processes share, that `kill -9` does not hurt, and whose damage is noticed and mended.

Every row has a seal, a hash of its key and value. A file that sqlite cannot read is set aside, and what of it can
be read goes into a new one where its rows cost money; a row whose seal does not fit is taken out. Both are said.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, Self, TypeVar

from filelock import FileLock, Timeout
from xxhash import xxh3_64

from notus_exp.disk import streams
from notus_exp.disk.aside import set_aside
from notus_exp.disk.salvage import is_database, read_damaged
from notus_exp.errors import UserError

BUSY_SECONDS = 60.0
CHECKED_BYTES = 32 * 2**20
"""Files up to this size are checked whole whenever they are opened; of larger ones damage is met when it is read."""
COMPANIONS = ("-wal", "-shm")
"""Suffixes of the files that sqlite keeps beside a database."""
_POLL_SECONDS = 0.05
_TAKEN_OUT = "damaged "
"""Begins the keys under which rows that are damaged and cost money are kept."""
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process holds it: wait for that or end it, and give the command again",
    sqlite3.SQLITE_LOCKED: "another process holds it: wait for that or end it, and give the command again",
    sqlite3.SQLITE_FULL: "the disk is full: free some space and give the command again; what was kept stays",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written: mend that and give the command again",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, or give another output_dir=FOLDER",
    sqlite3.SQLITE_CANTOPEN: "make it and its folder readable and writable, or give another output_dir=FOLDER",
}

Result = TypeVar("Result")
Say = Callable[[str], None]
"""Shows a line to the user."""


def to_stderr(line: str) -> None:
    """Show a line to the user where nobody else does."""
    print(line, file=streams.err(), flush=True)


class StoreTable(NamedTuple):
    """The one table of a store: `key`, a value, and the seal of both.

    Attributes:
        name: Its name.
        column: Name of the value's column.
        kind: sqlite's type of the value: REAL or TEXT.
        rows: What its rows are called in words, such as `replies`.
        costly: Whether a row cost money: what can be read of a damaged file is then kept; else it is computed anew.
    """

    name: str
    column: str
    kind: str
    rows: str
    costly: bool


class _DamagedError(Exception):
    """The file is not what it was."""


class Database:
    """An open store, safe under threads, processes and `kill -9`; a context manager that closes it.

    Args:
        path: The file; it and its folder are made where missing.
        table: Its table; one without seals, from before there were any, gets them in place.
        is_good: Whether a value is one that the store may hold.
        say: Told what was damaged, what of it was saved and where the rest lies.

    Raises:
        UserError: The file cannot be used: another process holds it, or the disk is full or not writable.
    """

    def __init__(self, path: Path, table: StoreTable, is_good: Callable[[Any], bool], say: Say) -> None:
        self._path, self._table, self._is_good, self._say = path, table, is_good, say
        self._turn = RLock()
        self._use: int | None = None
        self._inode: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; once closed, nothing more happens."""
        if self._use is not None:
            self._connection.close()
            os.close(self._use)
            self._use = None

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that the store has; a row that is damaged is taken out and not among them."""
        table = self._table
        wanted = json.dumps(list(keys))
        query = f"SELECT key, {table.column}, seal FROM {table.name} WHERE key IN (SELECT value FROM json_each(?))"
        rows = self._guarded(lambda connection: connection.execute(query, (wanted,)).fetchall())
        damaged = [key for key, value, seal in rows if not self._holds(key, value, seal)]
        if damaged:
            self._take_out(damaged)
        found = {key: value for key, value, _ in rows}
        return {key: found[key] for key in found.keys() - set(damaged)} if damaged else found

    def add(self, values: Mapping[str, Any]) -> None:
        """Add values in one transaction; keys that the store has already keep theirs."""
        rows = [(key, value, seal_of(key, value)) for key, value in values.items()]
        self._guarded(lambda connection: _insert(connection, self._table, rows))

    # ------------------------------------------------------------------------------------------------------- the file
    def _guarded(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do some work on the file; where it turns out to be damaged mend it first."""
        with self._turn:
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                if not self._is_damage(error):
                    raise self._unusable(error) from None
                damage = error
            self.close()
            self._open(damage)
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                raise self._unusable(error) from None

    def _open(self, damage: sqlite3.Error | None = None) -> None:
        """Open the file; where it was open and showed damage, that file is mended first, unless somebody else did."""
        # sqlite does not wait for others while it changes the journal mode, so processes that open at once queue here.
        try:
            queue = FileLock(self._beside(".lock"))
            queue.acquire(timeout=BUSY_SECONDS)
        except Timeout:
            raise self._unusable("another process has been opening it for too long") from None
        try:
            # Whoever has the file open holds this shared; who renames it must be alone.
            use = os.open(self._beside(".use"), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(use, fcntl.LOCK_SH)
                if damage is not None and _inode(self._path) == self._inode:
                    self._mend(damage, use)
                self._connection = self._ready(use)
                self._inode = _inode(self._path)
            except BaseException:
                os.close(use)
                raise
            self._use = use
        finally:
            queue.release()

    def _ready(self, use: int) -> sqlite3.Connection:
        salvaged = self._beside(".salvaged")
        if salvaged.exists() and not self._path.exists():  # a kill came between setting aside and putting in its place
            salvaged.rename(self._path)
        for _ in range(2):
            try:
                return self._connect(self._path)
            except (_DamagedError, sqlite3.Error) as error:
                if isinstance(error, sqlite3.Error) and not self._is_damage(error, opening=True):
                    raise self._unusable(error) from None
                self._mend(error, use)
            except IsADirectoryError:
                raise self._unusable("it is a folder", "move that folder away and give the command again") from None
            except OSError as error:
                raise self._unusable(error.strerror or str(error), _remedy(sqlite3.SQLITE_CANTOPEN)) from None
        raise self._unusable("it was mended and is damaged again")

    def _connect(self, path: Path) -> sqlite3.Connection:
        table = self._table
        before = path.stat().st_size if path.exists() else None
        if before == 0:
            raise _DamagedError("it is empty")
        if before and not is_database(path):  # seen before sqlite is asked, which would remove the log beside it
            raise _DamagedError("file is not a database")
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            if before and before <= CHECKED_BYTES:
                [(found,), *_] = connection.execute("PRAGMA integrity_check(1)").fetchall()
                if found != "ok":
                    raise _DamagedError(str(found).rpartition("\n")[2])
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table.name}"
                f" (key TEXT PRIMARY KEY, {table.column} {table.kind} NOT NULL, seal TEXT)"
            )
            self._upgrade(connection)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        """Give a table from before there were seals a seal for each of its rows that is whole."""
        table = self._table
        if other := _other_than_a_table(connection, table.name):
            raise _DamagedError(other)
        described = list(connection.execute(f"PRAGMA table_info({table.name})"))
        columns = [row[1] for row in described]
        if columns not in (["key", table.column], ["key", table.column, "seal"]):
            raise _DamagedError(f"its table has the columns {', '.join(columns)}")
        if not described[0][5]:
            raise _DamagedError("its table has no key")
        if len(columns) == 3:
            return
        connection.create_function("seal_of", 2, lambda key, value: seal_of(key, value) if self._is_good(value) else "")
        with _transaction(connection):
            connection.execute(f"ALTER TABLE {table.name} ADD COLUMN seal TEXT")
            connection.execute(f"UPDATE {table.name} SET seal = seal_of(key, {table.column})")

    # --------------------------------------------------------------------------------------------------------- damage
    def _holds(self, key: Any, value: Any, seal: Any) -> bool:
        """Say whether a row is as it was written; one without a seal is as good as its value."""
        if not isinstance(key, str) or not self._is_good(value):
            return False
        return seal is None or seal == seal_of(key, value)

    def _take_out(self, keys: list[str]) -> None:
        """Take damaged rows out: under another name where they cost money, else for good."""
        table = self._table

        def take_out(connection: sqlite3.Connection) -> None:
            change = f"UPDATE OR REPLACE {table.name} SET key = '{_TAKEN_OUT}' || key" if table.costly else ""
            with _transaction(connection):
                connection.executemany(
                    f"{change or f'DELETE FROM {table.name}'} WHERE key = ?", [(key,) for key in keys]
                )

        self._guarded(take_out)
        kept = "; what is there of them is kept under 'damaged KEY'" if table.costly else ""
        self._say(f"{self._path}: {len(keys)} {table.rows} are damaged and are {self._again()}{kept}")

    def _mend(self, reason: Exception, use: int) -> None:
        """Put a new file in the place of a damaged one, with what can be read of that where it cost money."""
        table, salvaged = self._table, self._beside(".salvaged")
        self._be_alone(use)
        rows, lost = self._salvaged() if table.costly else ([], "")
        for suffix in ("", *COMPANIONS):
            salvaged.with_name(salvaged.name + suffix).unlink(missing_ok=True)
        connection = self._connect(salvaged)
        try:
            _insert(connection, table, rows)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
        kept = set_aside(self._path, COMPANIONS)
        salvaged.rename(self._path)
        fcntl.flock(use, fcntl.LOCK_SH)
        again = f"its {table.rows} are computed anew"
        if table.costly:
            again = f"{len(rows)} {table.rows} were saved{lost}"
        self._say(f"{self._path} was damaged ({reason}) and is set aside as {kept.name}; {again}")

    def _salvaged(self) -> tuple[list[tuple[str, Any, str]], str]:
        """Return the rows of a damaged file that are whole, and in words how many more there were."""
        found = read_damaged(self._path)
        rows: dict[str, tuple[str, Any, str]] = {}
        for record in found.records:
            if len(record) not in (2, 3) or not isinstance(record[0], str):
                continue
            key, value, seal = record if len(record) == 3 else (*record, None)
            value = float(value) if self._table.kind == "REAL" and isinstance(value, int) else value
            if self._holds(key, value, seal):
                rows[key] = (key, value, seal_of(key, value))
        seen = {key for key in found.keys if not key.startswith(_TAKEN_OUT)}
        # A row that the index does not name stands for an entry that was damaged: its key reads as another there.
        lost = max(len(seen - rows.keys()) - len(rows.keys() - seen), found.unread if found.short else 0)
        if lost > 0:
            return list(rows.values()), f", at least {lost} are lost; what is missing is asked again"
        if found.short or found.unread or len(seen) < len(rows) or not rows:
            return list(rows.values()), ", how many are lost cannot be told; what is missing is asked again"
        return list(rows.values()), ""

    def _be_alone(self, use: int) -> None:
        """Wait until no other process has the file open."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._unusable("it is damaged, and another process has it open") from None
                time.sleep(_POLL_SECONDS)

    def _is_damage(self, error: sqlite3.Error, *, opening: bool = False) -> bool:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_READONLY:  # so says a header that is damaged
            return self._path.exists() and os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)
        return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (opening and code == sqlite3.SQLITE_ERROR)

    def _unusable(self, problem: sqlite3.Error | str, remedy: str = "") -> UserError:
        code = getattr(problem, "sqlite_errorcode", None)
        return UserError(f"{self._path} cannot be used: {problem}", remedy or _remedy(code))

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _again(self) -> str:
        return "asked again" if self._table.costly else "computed anew"


def _remedy(code: int | None) -> str:
    """Return what to do about an error of sqlite; None: another process is in the way."""
    return _REMEDIES.get(sqlite3.SQLITE_BUSY if code is None else code & 0xFF, "give the command again")


def seal_of(key: str, value: str | float) -> str:
    """Return the hash of a row: xxh3-64 (hex) of its key and its value, of a number its shortest exact text."""
    text = value if isinstance(value, str) else repr(float(value) + 0.0)  # sqlite keeps no -0.0
    return xxh3_64(f"{key}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _other_than_a_table(connection: sqlite3.Connection, name: str) -> str:
    """Say what a file holds beside the one table, such as a view in its place; "" where nothing."""
    query = "SELECT type, name FROM sqlite_schema WHERE NOT (type = 'table' AND name = ?) AND name NOT LIKE 'sqlite_%'"
    return next((f"it holds a {kind} {found}" for kind, found in connection.execute(query, (name,))), "")


def _insert(connection: sqlite3.Connection, table: StoreTable, rows: Iterable[tuple[str, Any, str]]) -> None:
    with _transaction(connection):
        connection.executemany(f"INSERT OR IGNORE INTO {table.name} VALUES (?, ?, ?)", rows)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # the lock first: an upgrade from reading cannot wait
        yield
