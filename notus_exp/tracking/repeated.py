"""A run of its own that W&B has: it is told of only where it ends otherwise than W&B has it."""

from __future__ import annotations

from collections.abc import Callable

from notus_exp.disk.events import Event
from notus_exp.tracking.tracker import Ending, Tracker


class RepeatedRun:
    """Keeps what a run tells until its end, which may be the one that W&B was told before.

    Args:
        is_told: Says whether W&B was told of this ending.
        open_again: Opens the tracker that writes over what W&B has.
        say: Told that there is nothing to tell.
    """

    def __init__(
        self, is_told: Callable[[Ending], bool], open_again: Callable[[], Tracker], say: Callable[[str], None]
    ) -> None:
        self._is_told, self._open_again, self._say = is_told, open_again, say
        self._events: list[Event] = []

    def log(self, event: Event) -> None:
        """Keep an event."""
        self._events.append(event)

    def finish(self, ending: Ending) -> None:
        """Tell everything, unless W&B has it already."""
        if self._is_told(ending):
            self._say("W&B was told of this run before, as it is: nothing is told again")
            return
        tracker = self._open_again()
        for event in self._events:
            tracker.log(event)
        tracker.finish(ending)
