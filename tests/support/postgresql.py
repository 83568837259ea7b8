"""A PostgreSQL server of a test's own, on the loopback, with a password, in a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "hunter-of-trials"
USER = "notus"


def programs() -> Path:
    """Return the folder of initdb and postgres; skip the test where there is none, or no driver."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs the extra 'postgresql': pip install 'notus-exp[postgresql]'")
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        places.append(Path(found).resolve().parent)
    for place in places:
        if (place / "initdb").is_file() and (place / "postgres").is_file():
            return place
    pytest.skip("needs a PostgreSQL server: apt-get install postgresql, or make test-engines")


class Server:
    """A server.

    Attributes:
        bare: URL of its database without a password.
        whole: The same with it.
        log: What the server said.
    """

    def __init__(self, place: Path, folder: Path, owner: int | None) -> None:
        self._place, self._folder, self._owner = place, folder, owner
        self._port = free_port()
        self.bare = f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"
        self.whole = self.bare.replace(USER, f"{USER}:{PASSWORD}")
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ["fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1", "log_statement=none"]
        words = [word for setting in settings for word in ("-c", setting)]
        command = [self._place / "postgres", "-D", self._folder / "data", "-p", str(self._port), *words]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=self._owner, cwd=self._folder
            )
        deadline = time.monotonic() + 60
        while b"ready to accept connections" not in self.log.read_bytes().rpartition(b"starting PostgreSQL")[2]:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as for a restart; its clients lose their connections."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            self._process.wait(timeout=60)


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run a server; by root as an unprivileged user, since PostgreSQL refuses to be root's."""
    place = programs()
    folder = Path(tempfile.mkdtemp(prefix="notus-postgresql-"))
    owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    server = Server(place, folder, owner)
    try:
        if owner is not None:
            for path in (folder, secret):
                os.chown(path, owner, -1)
        made = [place / "initdb", "-D", folder / "data", "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}"]
        done = subprocess.run(
            [*made, "--no-sync", "--no-locale", "-E", "UTF8"],
            user=owner, cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def free_port() -> int:
    """Return a port of the loopback that nobody listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
