"""Who works on a trial: a lease that its process renews while it lives, so that a trial never waits for a dead one.

Optuna's heartbeat does not work with ask and tell, and sees no process that was killed until its grace has passed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import TypedDict

import psutil
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import Trial

LEASE = "lease"
"""The trial's user attribute."""
RENEWALS = 4
"""How often a lease is renewed within its time."""
CLOCK_SECONDS = 2.0
"""By how much the start of one and the same process may seem to move while the machine's clock is set."""
_NAMESPACE = Path("/proc/self/ns/pid")


class TrialLease(TypedDict):
    """Who works on a trial, and until when.

    Attributes:
        host: The machine, and the container where processes are numbered by themselves.
        pid: The process.
        started: When that began, in seconds since the epoch: a pid may be given to another one.
        expires: When the lease is over, likewise.
    """

    host: str
    pid: int
    started: float
    expires: float


def new_lease(seconds: float) -> TrialLease:
    """Return a lease of this process, from now on.

    Args:
        seconds: How long it holds unless it is renewed.
    """
    pid = os.getpid()
    started = _started(pid)
    assert started is not None  # it is this process
    return {"host": _host(), "pid": pid, "started": started, "expires": time.time() + seconds}


def is_dead(lease: TrialLease | None, now: float) -> bool:
    """Say whether nobody works on a trial any more: its lease is over, or its process is known to be gone.

    Args:
        lease: None where the process died before it could write one.
        now: Seconds since the epoch.
    """
    if lease is None or now >= lease["expires"]:
        return True
    if lease["host"] != _host():
        return False
    started = _started(lease["pid"])
    return started is None or abs(started - lease["started"]) > CLOCK_SECONDS


class Keeper:
    """Renews the leases of this process's trials; a context manager that ends the renewing, not the leases.

    Args:
        seconds: How long a lease holds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._trials: dict[int, Trial] = {}
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_all, daemon=True)

    def __enter__(self) -> Keeper:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join()

    def hold(self, trial: Trial) -> None:
        """Take a lease on a trial and renew it from here on."""
        with self._turn:
            trial.set_user_attr(LEASE, new_lease(self._seconds))
            self._trials[trial.number] = trial

    def drop(self, trial: Trial) -> None:
        """Renew a trial's lease no longer."""
        with self._turn:
            self._trials.pop(trial.number, None)

    def _renew_all(self) -> None:
        while not self._stop.wait(self._seconds / RENEWALS):
            for number in list(self._trials):
                with self._turn:
                    self._renew(number)

    def _renew(self, number: int) -> None:
        trial = self._trials.get(number)
        if trial is None:
            return
        try:
            trial.set_user_attr(LEASE, new_lease(self._seconds))
        except UpdateFinishedTrialError:  # another process held this one to be dead, and has told so
            del self._trials[number]
        except StorageInternalError:
            pass  # the database is away; the next turn tries again


def _host() -> str:
    """Return a name of this machine, and of the container where processes are numbered by themselves."""
    space = _NAMESPACE.stat().st_ino if _NAMESPACE.exists() else 0
    return f"{socket.gethostname()}/{space}"


def _started(pid: int) -> float | None:
    """Return when a process began, None if there is none; a pid may have been given to another one since."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None
