"""How a hardware profile starts a worker's processes: alone, or by torchrun, on one machine or several."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.errors import UserError

FIRST_PORT, PORTS = 20_000, 20_000
"""Ports on which the processes of a SLURM job meet: one of these, by the job's number."""
USUAL_PORT = "29500"
"""Where torchrun's environment names a host alone."""


class Killed(NamedTuple):
    """A process that a signal ended: its number, and the signal's."""

    rank: int
    signal: int


def launch_command(hardware: Hardware, job: str, environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs a worker's job as the profile says.

    Args:
        hardware: The profile.
        job: Path of the job file, in a folder of the run's own.
        environment: Tells where several nodes meet, where the profile does not.

    Raises:
        UserError: The profile wants several nodes, and nothing says where they meet.
    """
    worker = ["-m", "notus_exp.run.worker_process", job]
    if hardware.launch is Launch.plain:
        return [sys.executable, *worker]
    each = f"--nproc-per-node={hardware.processes // hardware.nodes}"
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    if hardware.nodes == 1:
        return [*torchrun, "--standalone", each, *worker]
    nodes = [f"--nnodes={hardware.nodes}", each, "--rdzv-backend=c10d", f"--rdzv-id={Path(job).parent.name}"]
    allocated = int(environment.get("SLURM_JOB_NUM_NODES", "1"))
    meeting = hardware.rendezvous or _told_by_torchrun(environment)
    if meeting is None and allocated > 1:
        port = FIRST_PORT + int(environment.get("SLURM_JOB_ID", "0")) % PORTS
        meeting = f"{environment.get('SLURMD_NODENAME', 'localhost')}:{port}"
    if meeting is None:
        raise UserError(
            f"hardware.nodes={hardware.nodes}, and nothing says where they meet",
            "set hardware.rendezvous=HOST:PORT, or start the run within a SLURM job of as many nodes",
        )
    command = [*torchrun, *nodes, f"--rdzv-endpoint={meeting}", *worker]
    return [*_srun(hardware, allocated, environment), *command] if allocated > 1 else command


def launch_environment(hardware: Hardware, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a launch has beside those that are there: threads, and how long torchrun waits.

    Left to itself torchrun gives each process one thread, and one that is stopped half a minute to end.
    """
    if hardware.launch is Launch.plain:
        return {}
    threads = max(1, _usable_cores() // (hardware.processes // hardware.nodes))
    wanted = {"OMP_NUM_THREADS": str(threads), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5"}
    return {name: value for name, value in wanted.items() if name not in environment}


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _told_by_torchrun(environment: Mapping[str, str]) -> str | None:
    """Return where the environment that torchrun or a scheduler of such jobs sets says that nodes meet."""
    if endpoint := environment.get("PET_RDZV_ENDPOINT"):
        return endpoint
    host = environment.get("MASTER_ADDR")
    return f"{host}:{environment.get('MASTER_PORT', USUAL_PORT)}" if host else None


def _srun(hardware: Hardware, allocated: int, environment: Mapping[str, str]) -> list[str]:
    """Return what starts one process on each node of a SLURM job, beside the run that is in it already."""
    if allocated < hardware.nodes:
        raise UserError(
            f"hardware.nodes={hardware.nodes}, and the SLURM job has {allocated}",
            "ask for as many nodes, or lower hardware.nodes and hardware.processes",
        )
    steps = ["--overlap", f"--nodes={hardware.nodes}", f"--ntasks={hardware.nodes}", "--ntasks-per-node=1"]
    if cpus := environment.get("SLURM_CPUS_ON_NODE"):  # since SLURM 22.05 a step does not take them over by itself
        steps.append(f"--cpus-per-task={cpus}")
    return ["srun", *steps, "--kill-on-bad-exit=1"]


_FAILED = re.compile(r"^\s*rank\s*: (\d+) \(local_rank: \d+\)\s*^\s*exitcode\s*: -(\d+) \(pid: \d+\)", re.MULTILINE)
"""How torchrun tells of a process that a signal ended."""
_SIGTERM = 15
"""The signal with which torchrun ends those that are left."""


def killed_process(log: Path, start: int = 0) -> Killed | None:
    """Return the process that a signal ended while the others ran, as torchrun's log tells it; None where none is told.

    Args:
        log: What the worker wrote.
        start: Bytes of it that earlier workers wrote.
    """
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            text = stream.read().decode(errors="replace")
    except OSError:
        return None
    told = [Killed(int(rank), int(number)) for rank, number in _FAILED.findall(text)]
    return next((one for one in told if one.signal != _SIGTERM), None)
