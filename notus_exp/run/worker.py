"""Worker processes seen from the parent: starting one, following its events, telling why it failed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import Event, parse
from notus_exp.disk.files import JOB, WORKER_BEATS, WORKER_ERROR, WORKER_LOG, WORKER_LOST, WORKER_RESULT
from notus_exp.disk.full import DISK_HINT, fullest, is_full
from notus_exp.disk.json_lines import take_lines
from notus_exp.errors import UserError
from notus_exp.machine import devices
from notus_exp.machine.out_of_memory import ended_for_memory
from notus_exp.reporting.console import shorten
from notus_exp.run.execution import Job, in_order
from notus_exp.run.launch import killed_process, launch_command, launch_environment
from notus_exp.run.nodes import Node
from notus_exp.run.warm_workers import warm
from notus_exp.run.watchdog import Watchdog, end_processes
from notus_exp.stages.monitor import NO_MONITOR, Monitor, PrunedError

POLL_SECONDS = 0.5
"""How often a waiting parent looks whether it was interrupted."""
DISK = 4
"""Exit code of a worker that the disk let down, so that it may not even have been able to say so."""
MEMORY = 5
"""Exit code of a worker that memory ran out for."""
TERMINATE_SECONDS = 20.0
"""How long an interrupted worker may take to stop before it is killed."""
MEMORY_HINT = (
    "no smaller batch is left to try: hardware.activation_checkpointing=true, a shorter dpo.max_length (sft.max_length "
    "of the stage sft), or what until=config proposes with hardware.memory_gb=GB"
)
LEAVE_SECONDS = 5.0
"""How long its processes may take for that."""


class KilledError(UserError):
    """A signal ended a worker, which could say nothing of it."""


class OutOfMemoryError(UserError):
    """Memory ran out while a worker made a node; None where it is not known which."""

    node: Node | None = None


def make_in_worker(job: Job, folder: Path, say: Callable[[str], None], monitor: Monitor = NO_MONITOR) -> None:
    """Run a worker that makes a job's artifacts; `made` tells afterwards which it did, also where it failed.

    Args:
        job: What to make.
        folder: Where the job, the worker's log and its result lie.
        say: Shows a line to the user.
        monitor: May end the worker.

    Raises:
        UserError: A stage failed, or nothing was heard of the worker for `hardware.watchdog` seconds.
        OutOfMemoryError: Memory ran out, of the device or the machine.
        PrunedError: The monitor asked for the end.
    """
    for name in (WORKER_ERROR, WORKER_LOST, WORKER_RESULT):
        (folder / name).unlink(missing_ok=True)
    beats, log = folder / WORKER_BEATS, folder / WORKER_LOG
    shutil.rmtree(beats, ignore_errors=True)
    command = launch_command(job.hardware, str(folder / JOB), os.environ)
    job.write(folder / JOB)
    if job.hardware.nodes > 1 and command[0] == sys.executable:  # else Slurm starts all of them
        say(f"to be started on {job.hardware.nodes - 1} more of {job.hardware.nodes} nodes: {shlex.join(command)}")
    seconds = job.hardware.watchdog
    watchdog = Watchdog(beats, job.events, seconds) if seconds else None

    def check() -> None:
        if watchdog and (wrong := watchdog.look()):
            raise UserError(
                f"{_where(job)}: nothing was heard of the worker for {seconds:g} s (hardware.watchdog): {wrong}",
                f"log: {shorten(log)}; finished stages are kept; hardware.watchdog=null waits for ever",
            )

    said = log.stat().st_size if log.exists() else 0
    ended = ended_for_memory()
    try:
        with _lease(job.hardware, say) as lease:
            variables = launch_environment(job.hardware, os.environ)
            code = run_worker(command, log, lease, monitor, beats, check, variables)
        if code != 0:
            raise _failure(code, job, folder, said, ended_for_memory() > ended)
    finally:
        shutil.rmtree(beats, ignore_errors=True)


def made(folder: Path) -> dict[str, bool]:
    """Return of each node that the last worker finished whether it made it itself, by node name."""
    return {name: made for name, made in _read(folder / WORKER_RESULT).items() if isinstance(made, bool)}


def _read(path: Path) -> dict[str, Any]:
    """Return what a worker left; nothing where there is none, or nothing that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _lease(hardware: Hardware, say: Callable[[str], None]) -> AbstractContextManager[devices.Lease]:
    """Hold the CUDA devices that a worker needs on this machine; none on other devices."""
    if hardware.device is not Device.cuda:
        return nullcontext(devices.NO_LEASE)
    number = hardware.processes // hardware.nodes
    message = f"waiting for {number} free CUDA device(s): other runs hold them"
    return devices.leased(number, devices.visible_devices(), lambda: say(message))


def _unfinished(job: Job) -> Node | None:
    """Return the node that a worker was at which did not come to its end."""
    store = ArtifactStore(job.artifacts)
    return next((node for node in in_order(job.nodes) if store.find(node.wanted) is None), None)


def _where(job: Job) -> str:
    """Return where a worker was that did not come to its end."""
    unfinished = _unfinished(job)
    return f"stage {unfinished.name} failed" if unfinished else "the worker failed"


def _failure(code: int, job: Job, folder: Path, said: int = 0, ended_for_memory: bool = False) -> UserError:
    """Return why a worker failed.

    Args:
        code: Its exit code.
        job: What it was to make.
        folder: Where its log and error are.
        said: Bytes of its log that are of earlier workers.
        ended_for_memory: Whether the kernel has ended a process meanwhile because memory ran out.
    """
    where, log = _where(job), shorten(folder / WORKER_LOG)
    error = _read(folder / WORKER_ERROR)
    if error.get("code") == MEMORY or (not error and ended_for_memory):
        failure = OutOfMemoryError(f"{where}: out of memory", f"{MEMORY_HINT}; log: {log}")
        failure.node = _unfinished(job)
        return failure
    place = fullest(*job.places())
    if not error and (code == DISK or is_full(place)):  # where a disk is full a mapped file ends a process by a signal
        return UserError(f"{where}: the disk is full or cannot be written: below {place}", DISK_HINT)
    if not {"message", "hint"} <= error.keys():
        asked = -code in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # somebody ended it
        hint = "finished stages are kept" if asked else f"out of memory? lower the batch sizes in hardware; log: {log}"
        return KilledError(f"{where}: {_silent_end(code, folder, said)}", hint)
    code = error.get("code", code)  # of several processes, that of the first that failed: the launcher's is another
    if code == 2:
        return UserError(f"{error['message']}", error["hint"])
    if code == DISK:
        return UserError(f"{where}: {error['message']}", DISK_HINT)
    return UserError(f"{where}: {error['message']}", f"the traceback is in {log}; finished stages are kept")


def _silent_end(code: int, folder: Path, said: int) -> str:
    """Say how a worker ended that left no error."""
    if killed := killed_process(folder / WORKER_LOG, said):
        return f"process {killed.rank} was killed by signal {killed.signal}"
    if lost := _read(folder / WORKER_LOST).get("message"):
        return f"its processes lost each other: {lost}"
    return f"the worker was killed by signal {-code}" if code < 0 else f"the worker ended with code {code}"


def run_worker(
    command: list[str],
    log: Path,
    lease: devices.Lease = devices.NO_LEASE,
    monitor: Monitor = NO_MONITOR,
    beats: Path | None = None,
    check: Callable[[], None] = lambda: None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run a worker to its end and return its exit code; on Ctrl-C stop it first.

    Each of its processes is given a pipe as standard input: when this process dies in any way, the pipe ends and so do
    they. Its session is its own, so that Ctrl-C reaches only the parent, which then stops it in order. It sees, and
    holds as long as it lives, the devices of the lease.

    Args:
        command: Starts it; see `launch_command`.
        log: Where its output goes.
        lease: Its devices.
        monitor: May end it.
        beats: Folder in which its processes say that they live: none of them outlives this call.
        check: Called every half second; what it raises ends the worker.
        variables: Of the environment, beside those of this process and of the lease.

    Raises:
        PrunedError: The monitor asked for the end of the run.
    """
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= lease.environment() | dict(variables)
    with log.open("ab") as output:
        worker = subprocess.Popen(
            warm(command, environment),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment,
            pass_fds=lease.descriptors,
        )
        try:
            # Not a plain wait(): polars installs a handler that restarts it, and Ctrl-C would wait for the worker.
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return worker.wait(POLL_SECONDS)
                reason = monitor.stop_reason()
                if reason is not None:
                    raise PrunedError(reason)
                check()
        finally:
            _end(worker, beats)


def _end(worker: subprocess.Popen[bytes], beats: Path | None) -> None:
    """End a worker where it has not ended, and whatever is left of its processes."""
    if worker.poll() is None:
        worker.terminate()
    if worker.stdin:
        worker.stdin.close()
    if beats:
        end_processes(beats, LEAVE_SECONDS)
    try:
        worker.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


@contextmanager
def following(path: Path, consumers: list[Callable[[Event], None]]) -> Iterator[None]:
    """Hand each event that is appended to a file to the consumers, from a thread, until the block ends."""
    stop = threading.Event()

    def follow() -> None:
        with path.open("rb") as stream:
            while True:
                stopping = stop.is_set()  # read once more after the last event was written
                for event in filter(None, map(parse, take_lines(stream))):
                    for consume in consumers:
                        consume(event)
                if stopping:
                    return
                time.sleep(0.1)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
