"""A Slurm cluster of a test's own: two nodes on the loopback, with munge, in a folder of its own."""

from __future__ import annotations

import getpass
import importlib.util
import os
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

from support.postgresql import free_port

_SETTINGS = """ClusterName=notus
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=5
MailProg=/bin/true
NodeName=notus[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports}] CPUs=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODES = ("notus1", "notus2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "sinfo", "squeue", "scontrol")


def require() -> None:
    """Skip the test where Slurm or the extra is missing."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("needs the extra 'slurm': pip install 'notus-exp[slurm]'")
    for program in PROGRAMS:
        if _found(program) is None:
            pytest.skip(f"needs Slurm ({program} is missing): apt-get install slurm-wlm munge, or make test-engines")


class Cluster:
    """A cluster.

    Attributes:
        environment: What a command needs to use it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Start munge, the controller and the nodes, each with one core, and wait until they take jobs."""
        folder = self._folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        (folder / "slurm.conf").write_text(
            _SETTINGS.format(
                folder=folder,
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                controller=free_port(),
                ports=",".join(str(free_port()) for _ in NODES),
            )
        )
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._begin(
            "munged", "--foreground", "--force", *(f"--{key}={folder}/munge.{end}" for key, end in files.items())
        )
        deadline = time.monotonic() + 30
        while not (folder / "munge.socket").exists():
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.05)
        self._begin("slurmctld", "-D", "-c")
        for node in NODES:
            self._begin("slurmd", "-D", "-c", "-N", node)
        while self.ask("sinfo", "-h", "-o", "%T %D") != f"idle {len(NODES)}":
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm's says."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def words(self) -> str:
        """Return what the servers said."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._folder.glob("*.log"))

    def stop(self) -> None:
        """End all jobs, and the servers."""
        if self._processes:
            self.ask("scancel", "--full", "--signal=KILL", "-u", getpass.getuser())
            self.ask("scancel", "-u", getpass.getuser())
            deadline = time.monotonic() + 20
            while self.ask("squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _begin(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(_found(program)), *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environment},
                )
            )  # fmt: skip


def _found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def slurm() -> Iterator[Cluster]:
    """Run a cluster, by whoever asks; nothing of the machine's own Slurm is touched."""
    require()
    folder = Path(tempfile.mkdtemp(prefix="notus-slurm-", dir="/tmp"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
