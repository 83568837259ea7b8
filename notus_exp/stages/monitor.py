"""Who watches a run from outside and may end it: a search whose pruner gives a trial up."""

from __future__ import annotations

from typing import Protocol

from notus_exp.disk.events import Event


class PrunedError(Exception):
    """A run was ended by its study because others do better; its message says why."""


class Monitor(Protocol):
    """What a run tells whoever watches it."""

    def take(self, event: Event) -> None:
        """Take one event of the stream; called from the thread that follows the stream."""

    def stop_reason(self) -> str | None:
        """Return why the run is to end now, else None; called every half second from the run's own thread."""


class NoMonitor:
    """Watches nothing."""

    def take(self, event: Event) -> None:
        """Do nothing."""

    def stop_reason(self) -> str | None:
        """Never end a run."""
        return None


NO_MONITOR = NoMonitor()
