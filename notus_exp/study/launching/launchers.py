"""What Hydra's launchers for other processes and machines need beside their own configuration."""

from __future__ import annotations

import functools
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from notus_exp.errors import UserError, first_line, named_line, strike
from notus_exp.run.outcome import Outcome

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
GRACE_SECONDS = 2.0
"""How long a job that Slurm ends waits for the signal that tells it to queue itself again: preemption sends both."""
ENDED_STATES = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT"),
)
"""Slurm's states of a job that will not go on; submitit takes a suspended or configured one for ended."""
ACCOUNTS_SECONDS = 30
"""How long Slurm's accounts may take to answer."""
LOOK_SECONDS = 20
"""How often at most the queue is looked at, where Slurm keeps no accounts."""


def settle(launcher: Launcher, hardware: DictConfig) -> None:
    """Give a launcher what it lacks here; what the user sets under `hydra.launcher` stays.

    Args:
        launcher: Any launcher of Hydra.
        hardware: The config's section `hardware`: on CUDA each run asks ray or Slurm for its devices; ray shows it none
            else. Of several nodes it asks Slurm too, and begins on the first of them: its worker starts the others.
    """
    if getattr(launcher, "_EXECUTOR", None) == "slurm":
        _ask_slurm(launcher, hardware)
        launcher.task_function = functools.partial(as_slurm_job, launcher.task_function)
    settings: Any = getattr(launcher, "ray_cfg", None)
    if settings is None:
        return
    launcher.task_function = functools.partial(as_ray_job, str(Path.cwd()), launcher.task_function)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ray would report its use over the network
    if settings.init.get("address") or os.environ.get("RAY_ADDRESS"):
        settings.init.setdefault(
            "object_store_memory", None
        )  # a cluster that runs takes no size; Hydra's plugin sets one
    else:
        settings.init.setdefault("include_dashboard", False)
    if hardware.device == "cuda":
        settings.remote.setdefault("num_gpus", hardware.processes)


def _ask_slurm(launcher: Any, hardware: DictConfig) -> None:
    """Let a job of Slurm have the devices and nodes of the profile, where the user asks for nothing else."""
    params = launcher.params
    devices = ("gpus_per_node", "gpus_per_task", "gres")
    if hardware.device == "cuda" and not any(params.get(name) for name in devices):
        params["gpus_per_node"] = hardware.processes // hardware.nodes
    if hardware.nodes > 1 and params.get("nodes", 1) == 1:
        # To submitit it is a job of one task, which would else be started on each node.
        params["additional_parameters"] = {"nodes": hardware.nodes, **(params.get("additional_parameters") or {})}
        params.setdefault("srun_args", ["--nodes=1", "--ntasks=1"])


def as_slurm_job(task: Callable[[DictConfig], Any], config: DictConfig) -> Any:
    """Run a task as a job of Slurm, so that whatever Slurm does to the job leaves a run that goes on.

    submitit passes over SIGTERM, which ends the run's worker all the same: the run would be a failure of its own, and
    its job a finished one that nobody queues again. So the run is interrupted, as by Ctrl-C, and the job has no result.
    """
    queue_again = signal.getsignal(_user_signal())

    def interrupt(number: int, frame: FrameType | None) -> None:
        time.sleep(GRACE_SECONDS)  # the other signal is answered meanwhile
        raise KeyboardInterrupt

    def again(number: int, frame: FrameType | None) -> None:
        assert callable(queue_again)
        try:
            queue_again(number, frame)
        except SystemExit:
            raise KeyboardInterrupt from None

    signal.signal(signal.SIGTERM, interrupt)
    if callable(queue_again):
        signal.signal(_user_signal(), again)
    return task(config)


def as_ray_job(folder: str, task: Callable[[DictConfig], Any], config: DictConfig) -> Any:
    """Run a task on a node of ray in the folder of the command: a cluster that runs works where it was started.

    Returns:
        What the task returns; where the node has no such folder, an outcome that says so.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        message = f"the node {socket.gethostname()} of ray has no folder {folder} ({first_line(error)})"
        hint = "hydra/launcher=ray needs a folder that all nodes have under the same path: give the command there"
        return Outcome(error=UserError(message, hint))
    return task(config)


def _user_signal() -> signal.Signals:
    """Return the signal by which Slurm tells a job of submitit to queue itself again."""
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


def results_of(error: BaseException) -> list[Any] | None:
    """Wait for the jobs of a launcher that gave up at the first one that left no result.

    Args:
        error: What the launcher raised.

    Returns:
        Of each job what it returned, or in words why there is nothing; None where none was waited for yet.
    """
    waits = _waits(error)
    if not waits:
        return None
    found: list[Any] = []
    for wait in waits:
        try:
            found.append(wait())
        except Exception as lost:  # whatever became of it, the others go on
            found.append(f"the launcher failed: {reason_of(lost)}")
    return found


def reason_of(error: BaseException) -> str:
    """Return in a line why a launcher failed; ray puts its reason last, behind the traceback of another process."""
    if type(error).__module__.partition(".")[0] != "ray":
        return named_line(error)
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    return strike(f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__)


def _waits(error: BaseException) -> list[Callable[[], Any]]:
    """Return what waits for each job; the launchers of submitit and ray keep their jobs in a local variable."""
    place = error.__traceback__
    while place is not None:
        module, kept = place.tb_frame.f_globals.get("__name__", ""), place.tb_frame.f_locals
        if module.endswith("hydra_submitit_launcher.submitit_launcher") and "jobs" in kept:
            return [functools.partial(_result, job) for job in kept["jobs"]]
        if module.endswith("hydra_ray_launcher._core") and len(kept.get("runs", ())) == len(kept["job_overrides"]):
            return [functools.partial(sys.modules["ray"].get, run) for run in kept["runs"]]
        place = place.tb_next
    return []


def _result(job: Any) -> Any:
    return job.results()[0]


def watch_queue(launcher: Launcher) -> None:
    """Let submitit ask the queue what became of its jobs where Slurm keeps no accounts: it would wait for ever.

    Args:
        launcher: Any launcher of Hydra; nothing is done for others.
    """
    if getattr(launcher, "_EXECUTOR", None) != "slurm":
        return
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    class QueueWatcher(SlurmInfoWatcher):  # type: ignore[misc]  # an extra, without types
        def _make_command(self) -> list[str] | None:
            if not self._registered - self._finished:
                return None
            return ["squeue", "--noheader", "--array", "--me", "--states=all", "--format=%i|%T"]

        def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
            text = string if isinstance(string, str) else string.decode()
            there = dict(line.split("|") for line in text.splitlines() if "|" in line)
            states = {job: there.get(job, "GONE") for job in self._registered}  # it forgets those of some minutes ago
            return {
                job: {"JobID": job, "State": state if state in (*ENDED_STATES, "GONE") else "RUNNING"}
                for job, state in states.items()
            }

    if not _keeps_accounts():
        SlurmJob.watcher = QueueWatcher(delay_s=LOOK_SECONDS)


@functools.cache
def _keeps_accounts() -> bool:
    """Say whether Slurm can be asked for jobs that have ended, by submitit's own command."""
    try:
        asked = subprocess.run(["sacct", "--jobs=1"], capture_output=True, check=False, timeout=ACCOUNTS_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def cancel_submitted() -> None:
    """End the jobs that submitit runs or has queued; it leaves them to themselves when its launcher is interrupted."""
    if "submitit" not in sys.modules:
        return
    from submitit import Job

    for one in gc.get_objects():  # the launcher keeps them in a local variable
        if issubclass(type(one), Job):
            with suppress(Exception):  # one that has ended
                one.cancel(check=False)
