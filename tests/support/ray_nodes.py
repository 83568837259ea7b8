"""A ray cluster of a test's own: two nodes, which are processes of this machine on the loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.postgresql import free_port

_START_SECONDS = 180
_COMMON = ("--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", "--num-cpus=1")
_STORE = "--object-store-memory=80000000"  # bytes; the least that ray takes is 75 MB


class Cluster:
    """A cluster.

    Attributes:
        address: What a driver connects to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the head and a second node, each with one core, and wait until both are there."""
        (self._folder / "elsewhere").mkdir()
        head = ("--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._folder}/r")
        self._begin(*head)
        self._await("Ray runtime started")
        self._begin(f"--address={self.address}")
        self._await("Ray runtime started")

    def words(self) -> str:
        """Return what the nodes said."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._folder.glob("*.log"))

    def workers(self) -> list[int]:
        """Return how many jobs each node runs at the moment, the head first."""
        return [sum("ray::_run_job" in _title(one) for one in _family(node.pid)) for node in self._nodes]

    def stop(self) -> None:
        """End both nodes with all that they started."""
        started = [one for node in self._nodes for one in _family(node.pid)]
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(started, timeout=20)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=10)
        for node in self._nodes:
            node.wait(timeout=20)

    def _begin(self, *arguments: str) -> None:
        log = self._folder / f"node{len(self._nodes)}.log"
        with log.open("wb") as output:
            # somewhere else than where the study is: a cluster that runs works where it was started
            self._nodes.append(
                subprocess.Popen(
                    [Path(sys.executable).parent / "ray", "start", *_COMMON, _STORE, *arguments],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    cwd=self._folder / "elsewhere", env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
                )
            )  # fmt: skip

    def _await(self, words: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        log = self._folder / f"node{len(self._nodes) - 1}.log"
        while words not in log.read_text(errors="replace"):
            assert self._nodes[-1].poll() is None, self.words()
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.2)


def _family(pid: int) -> list[psutil.Process]:
    try:
        one = psutil.Process(pid)
        return [one, *one.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Run a cluster of two nodes; skip the test where the extra is missing."""
    if importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None:
        pytest.skip("needs the extra 'ray': pip install 'notus-exp[ray]'")
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # its sockets' paths may have 107 characters
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
